"""Opens the database file: settings of every connection, migrations, the lock of the directory."""

import asyncio
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosql
import yoyo

from taskyard.core.errors import StoreDamaged, StoreInUse
from taskyard.store.sqlite.batches import STATEMENTS
from taskyard.store.sqlite.errors import translated

T = TypeVar("T")

FILE_NAME: Final = "taskyard.sqlite3"
READERS: Final = 2


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection set up the one way all of ours are.

    Autocommit, so that transactions are begun where they are meant; write-ahead log with a full
    sync at each commit, so that a commit that returned survives a power cut.
    """
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"file:{path}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS,
    )
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA temp_store = MEMORY")
    if not read_only:
        # Takes effect on an empty file only; lets retention give space back.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = OFF")
        # Fewer, larger checkpoints: pages that many commits touch are copied once.
        connection.execute("PRAGMA wal_autocheckpoint = 8000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


@cache
def queries(name: str) -> Any:
    """The named queries of one ``queries/NAME.sql``."""
    text = resources.files("taskyard.store.sqlite").joinpath("queries", f"{name}.sql").read_text()
    return aiosql.from_str(text, "sqlite3", mandatory_parameters=False)


def migrate(path: Path) -> None:
    """Bring the schema up to date. Raises ``StoreDamaged`` for a store of a newer version."""
    with translated():
        connect(path).close()
    with resources.as_file(resources.files("taskyard.store.sqlite") / "migrations") as folder:
        known = yoyo.read_migrations(str(folder))
        backend = yoyo.get_backend(f"sqlite:///{path}")
        try:
            applied = set(backend.get_applied_migration_hashes())
            if applied - {migration.hash for migration in known}:
                raise StoreDamaged(
                    f"{path} was written by a newer version of Taskyard; upgrade to use it"
                )
            with backend.lock():
                backend.apply_migrations(backend.to_apply(known))
        finally:
            backend.connection.close()


class DirectoryLock:
    """The right to open a data directory, held by one process at a time.

    The lock goes with the process however it ends; the file beside it says who holds it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Raises ``StoreInUse`` if another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(os.read(descriptor, 4096))
            os.close(descriptor)
            raise StoreInUse(str(self._path.parent), owner) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the right back. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


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
            finally:
                connection.execute("COMMIT")

    def close(self) -> None:
        """Wait for what is running, then close all connections."""
        self._pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def _owner(content: bytes) -> dict[str, Any] | None:
    try:
        owner = json.loads(content)
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None
