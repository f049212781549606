"""Reader threads: they read snapshots while the writer writes."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from taskyard.store.sql.connection import Connection, Database
from taskyard.store.sql.transactions import TRIES, unstorable

T = TypeVar("T")

READERS: Final = 2


class Readers:
    """A few threads with connections of their own that read only."""

    def __init__(self, database: Database, count: int = READERS) -> None:
        self._database = database
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="taskyard-reader")

    async def run(self, operation: Callable[[Connection], T]) -> T:
        """Run a reading operation on a thread; it sees one consistent snapshot."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, operation)

    def _run(self, operation: Callable[[Connection], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._database.connect_reading()
            self._connections.append(connection)
        for tries_left in reversed(range(TRIES)):
            try:
                connection.begin()
                return operation(connection)
            except (UnicodeEncodeError, OverflowError) as error:
                raise unstorable() from error
            except connection.failures as error:
                if tries_left and connection.is_conflict(error):
                    continue
                raise connection.trouble(error) from error
            finally:
                # It wrote nothing; unlike a commit this cannot fail.
                connection.rollback()
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Wait for what is running, then close all connections."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()
