"""The embedded store as one thing to open and close."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from taskyard.store.sqlite.catalogue import SqliteCatalogue
from taskyard.store.sqlite.database import (
    FILE_NAME,
    DirectoryLock,
    Readers,
    connect,
    migrate,
    queries,
)
from taskyard.store.sqlite.dispatch import SqliteDispatch
from taskyard.store.sqlite.functions import SqliteFunctions
from taskyard.store.sqlite.groups import SqliteGroups
from taskyard.store.sqlite.issued import SqliteIssued
from taskyard.store.sqlite.jobs import SqliteJobs
from taskyard.store.sqlite.ledger import Ledger
from taskyard.store.sqlite.lists import SqliteLists
from taskyard.store.sqlite.maintenance import SqliteMaintenance
from taskyard.store.sqlite.session import Session
from taskyard.store.sqlite.tasks import SqliteTasks
from taskyard.store.sqlite.writer import Writer

_SQL: Final = queries("tasks")


class SqliteStore:
    """One data directory's store. Its parts implement the store ports."""

    def __init__(
        self,
        directory: Path,
        on_commit: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        """Prepare, without touching the disk.

        Args:
            directory: the data directory; made if missing.
            on_commit: told the size of each shared commit and the seconds it took.
        """
        self._path = directory / FILE_NAME
        self._lock = DirectoryLock(directory)
        ledger = Ledger()
        self.writer = Writer(lambda: connect(self._path), on_commit, ledger.flush, ledger.forget)
        self._readers = Readers(self._path)
        self.session = Session(self.writer, self._readers, ledger)
        self.tasks = SqliteTasks(self.session)
        self.dispatch = SqliteDispatch(self.session)
        self.groups = SqliteGroups(self.session)
        self.lists = SqliteLists(self.session, self.tasks)
        self.jobs = SqliteJobs(self.session, self.tasks)
        self.functions = SqliteFunctions(self.session)
        self.catalogue = SqliteCatalogue(self.session)
        self.issued = SqliteIssued(self.session, self.tasks)
        self.maintenance = SqliteMaintenance(self.session)

    async def open(self) -> None:
        """Take the directory, bring the schema up to date, begin to serve.

        Raises:
            StoreInUse: another process has the directory open.
            StoreDamaged: the file is damaged, or of a newer version.
            StorageFull: there is no room even to begin.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._prepare)
        self.writer.start(loop)
        self.session.last_seq = await self.writer.run(_last_seq)

    def _prepare(self) -> None:
        # Others may pass through, so that a command of another user finds its own directory; what
        # the store writes is for this user alone. The files beside it take after the main one.
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock.acquire()
        try:
            migrate(self._path)
        except BaseException:
            self._lock.release()
            raise

    async def close(self) -> None:
        """Commit what is waiting, close, give the directory back. May be called twice."""
        await self.writer.close()
        await asyncio.get_running_loop().run_in_executor(None, self._readers.close)
        self._lock.release()


def _last_seq(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute(_SQL.last_seq.sql).fetchone()
    return int(last)
