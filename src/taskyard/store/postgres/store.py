"""The store on PostgreSQL: opening and closing it."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Final

import psycopg
import structlog

from taskyard.ports.database import DatabaseCondition
from taskyard.store.postgres.address import DatabaseAddress
from taskyard.store.postgres.change_log import PostgresChangeLog
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.errors import trouble
from taskyard.store.postgres.migrate import installation_of, migrate
from taskyard.store.postgres.silence import AnsweringReaders, AnsweringWriter, Silence
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.parking import retry_all
from taskyard.store.sql.readers import Readers
from taskyard.store.sql.repositories import Repositories
from taskyard.store.sql.transactions import Session
from taskyard.store.sql.writer.client import WriterClient

log = structlog.get_logger(__name__)

READERS: Final = 4
"""Threads that read: more than of an embedded database, as they wait for the server."""


class PostgresStore(Repositories):
    """The store of one installation, which several processes may have open at once."""

    def __init__(
        self,
        address: DatabaseAddress,
        on_commit: Callable[[int, float], None] = lambda _size, _seconds: None,
        *,
        own_process: bool = False,
        name: str = "taskyard",
    ) -> None:
        """Prepare, without connecting.

        Args:
            address: of the database.
            on_commit: called with the size of each shared commit and the seconds it took.
            own_process: write in a process of its own; on a thread of this process if False.
            name: of this process among those that have the database open, for its operators.
        """
        self.database = PostgresDatabase(address, name)
        self.installation_id = ""
        """Of the installation that the database belongs to, once the store is open."""
        self._readers = Readers(self.database, READERS)
        self.silence = Silence()
        self.changes = PostgresChangeLog(self.database, self.silence)
        self.writer = WriterClient(self.database, on_commit, own_process=own_process)
        readers = AnsweringReaders(self._readers, self.silence)
        writer = AnsweringWriter(self.writer, self.silence)
        super().__init__(Session(readers, writer, is_shared=True))

    async def open(self) -> None:
        """Bring the schema up to date, begin to serve.

        Raises:
            StoreDamaged: the database is another program's, of a newer release, or damaged.
            Unavailable: it cannot be reached or only reads, or the role lacks rights.
            StorageFull: there is no room even to begin.
            OSError: the process that writes cannot be started.
        """
        await asyncio.get_running_loop().run_in_executor(None, self._prepare)
        await self.writer.start()

    def find_installation(self) -> str | None:
        """Which installation the database belongs to; None if to none yet. Blocks.

        Changes nothing; raises as :meth:`open`.
        """
        return installation_of(self.database)

    def _prepare(self) -> None:
        self.installation_id = migrate(self.database)
        with closing(self.database.connect()) as connection:
            try:
                retry_all(connection)
            except psycopg.Error as error:
                # They are tried at their time.
                connection.rollback()
                log.warning("parked_not_retried", reason=str(trouble(error)))

    async def condition(self) -> DatabaseCondition:
        """See ``ports.database``."""
        return await self.session.read(_condition)

    async def claim_key_sample(self, sealed: bytes | None) -> bytes | None:
        """Keep something sealed that tells keys apart, unless there is one; answers what is kept.

        Raises ``Unavailable``.
        """
        return await asyncio.get_running_loop().run_in_executor(None, self._claim, sealed)

    def _claim(self, sealed: bytes | None) -> bytes | None:
        try:
            with closing(self.database.raw()) as connection:
                row = connection.execute(
                    "UPDATE installation SET key_sample = coalesce(key_sample, %s)"
                    " RETURNING key_sample",
                    (sealed,),
                ).fetchone()
        except psycopg.Error as error:
            raise trouble(error) from error
        found: bytes | None = None if row is None else row[0]
        return found

    async def close(self) -> None:
        """Commit what is waiting, and close. May be called twice."""
        await self.writer.close()
        await asyncio.get_running_loop().run_in_executor(None, self._readers.close)
        await self.changes.close()


def _condition(connection: Connection) -> DatabaseCondition:
    (oldest_s,) = connection.execute("condition.oldest_snapshot").fetchone()
    return DatabaseCondition(oldest_s, dict(connection.execute("condition.dead_tuples").fetchall()))
