"""Reader threads: they read snapshots while the writer writes."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from taskyard.store.sqlite.database import connect, translated, unstorable

T = TypeVar("T")

READERS: Final = 2


class Readers:
    """A few threads with read-only connections of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="taskyard-reader")

    async def run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run a reading operation on a thread; it sees one consistent snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, operation)

    def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        with translated():
            if connection is None:
                connection = self._local.connection = connect(self._path, read_only=True)
                self._connections.append(connection)
            connection.execute("BEGIN")
            try:
                return operation(connection)
            except (UnicodeEncodeError, OverflowError) as error:
                raise unstorable() from error
            finally:
                connection.execute("COMMIT")

    def close(self) -> None:
        """Wait for what is running, then close all connections."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
