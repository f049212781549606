"""The embedded store: opening and closing a data directory's database."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from taskyard.core.errors import StoreDamaged
from taskyard.store.sql.parking import retry_all
from taskyard.store.sql.readers import Readers
from taskyard.store.sql.repositories import Repositories
from taskyard.store.sql.transactions import Session
from taskyard.store.sql.writer.client import WriterClient
from taskyard.store.sqlite.database import (
    FILE_NAME,
    UNFINISHED,
    SqliteConnection,
    SqliteDatabase,
    translated,
)
from taskyard.store.sqlite.disk_space import Reserve
from taskyard.store.sqlite.lock import DirectoryLock
from taskyard.store.sqlite.migrate import migrate

log = structlog.get_logger(__name__)


class SqliteStore(Repositories):
    """One data directory's store. Its repositories implement the store ports."""

    def __init__(
        self,
        directory: Path,
        on_commit: Callable[[int, float], None] = lambda _size, _seconds: None,
        *,
        own_process: bool = False,
        reserve_bytes: int = 0,
    ) -> None:
        """Prepare, without touching the disk.

        Args:
            directory: the data directory; made if missing.
            on_commit: called with the size of each shared commit and the seconds it took.
            own_process: write in a process of its own, which takes a moment to start and then
                leaves this one's event loop alone; on a thread of this process if False.
            reserve_bytes: kept of the disk for ends, kills and deletes when it is full.
        """
        self._path = directory / FILE_NAME
        self._lock = DirectoryLock(directory)
        database = SqliteDatabase(self._path, reserve_bytes)
        self._database = database
        self._readers = Readers(database)
        self.reserve = Reserve(directory, reserve_bytes)
        self.writer = WriterClient(database, on_commit, own_process=own_process)
        super().__init__(Session(self._readers, self.writer))

    async def open(self) -> None:
        """Take the directory, bring the schema up to date, begin to serve.

        Raises:
            StoreInUse: another process has the directory open.
            StoreDamaged: the file is damaged, or of a newer version.
            StorageFull: there is no room even to begin.
            OSError: the process that writes cannot be started.
        """
        await asyncio.get_running_loop().run_in_executor(None, self._prepare)
        try:
            await self.writer.start(self._lock.descriptor)
        except BaseException:
            self._lock.release()
            raise

    def _prepare(self) -> None:
        unfinished = self._path.with_name(UNFINISHED)
        if unfinished.exists() and not (self._path.exists() and self._path.stat().st_size):
            raise StoreDamaged(
                f"{self._path.parent} holds an unfinished copy of a store; finish it by running the"
                f" command that began it again, or remove {unfinished} to begin an empty one"
            )
        # Others may pass through, so that a command of another user finds its own directory; what
        # the store writes is for this user alone. The files beside it take after the main one.
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock.acquire()
        if self.reserve.is_low:
            # Even to begin takes some room; whoever serves has it back as soon as there is more.
            self.reserve.give_up()
        try:
            migrate(self._path)
            # Whoever writes: a damaged store is refused before anything is served.
            with translated(), closing(self._database.connect()) as connection:
                self._retry_parked(connection)
                connection.execute("tasks.last_seq").fetchone()
        except BaseException:
            self._lock.release()
            raise

    def _retry_parked(self, connection: SqliteConnection) -> None:
        try:
            retry_all(connection)
        except sqlite3.OperationalError as error:
            # A full disk: they are tried at their time, and a server that starts can be cleared.
            connection.rollback()
            log.warning("parked_not_retried", reason=str(error))

    async def close(self) -> None:
        """Commit what is waiting, close, give the directory back. May be called twice."""
        await self.writer.close()
        await asyncio.get_running_loop().run_in_executor(None, self._readers.close)
        self._lock.release()
