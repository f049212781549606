"""Real stores for tests, opened quickly: the schema is made once and copied."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

import postgres
from fakes.memory import MemoryStore
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import migrate as migrate_postgres
from taskyard.store.postgres.store import PostgresStore
from taskyard.store.sql.access import AUDIT_KEPT, SqlAccessStore
from taskyard.store.sql.readers import Readers
from taskyard.store.sql.repositories import Repositories
from taskyard.store.sql.transactions import Operation, Repository, Session, writes
from taskyard.store.sql.writer import server as server_module
from taskyard.store.sql.writer.client import WriterClient
from taskyard.store.sqlite.database import FILE_NAME, SqliteDatabase
from taskyard.store.sqlite.migrate import migrate
from taskyard.store.sqlite.store import SqliteStore

T = TypeVar("T")

FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - used for mkdtemp only
"""Where a real file costs no real disk, for tests that make many or large ones."""


@cache
def _schema() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / FILE_NAME
        migrate(path)
        return path.read_bytes()


def prepare(directory: Path) -> None:
    """Make a data directory with an empty store of the present schema, unless it has one."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / FILE_NAME).exists():
        (directory / FILE_NAME).write_bytes(_schema())


STORES = ["sqlite", "memory", "postgres"]
"""Where there can be no PostgreSQL server, its tests are skipped, but never under CI."""
COMPLETE_STORES = ["sqlite", "postgres"]
"""Those that implement every store port."""


class Probe(Repository):
    """Runs what a test hands it among the writes of others."""

    _handed: ClassVar[dict[int, Operation[Any]]] = {}

    async def run(self, operation: Operation[T]) -> T:
        """As ``CommitQueue.run``; the operation runs on the writer's thread."""
        result: T = await self.queued(self._hand(operation))
        return result

    async def write(self, operation: Operation[T]) -> T:
        """As ``Session.write``."""
        result: T = await self.written(self._hand(operation))
        return result

    @writes
    async def queued(self, number: int) -> Any:
        """An operation that was handed over, by its number."""
        return await self._session.queue.run(self._handed.pop(number))

    @writes
    async def written(self, number: int) -> Any:
        """The same, with what it counted undone if it fails."""
        return await self._session.write(self._handed.pop(number))

    def _hand(self, operation: Operation[Any]) -> int:
        self._handed[id(operation)] = operation
        return id(operation)


@contextmanager
def probes(audit_kept: int = AUDIT_KEPT) -> Iterator[None]:
    """Stores opened meanwhile, with their writer on a thread, take probes.

    They keep so many entries of the audit trail.
    """

    class Probed(Repositories):
        def __init__(self, session: Session) -> None:
            super().__init__(session)
            self.access = SqlAccessStore(session, audit_kept)
            self.probe = Probe(session)

    with patch.object(server_module, "Repositories", Probed):
        yield


async def opened(
    directory: Path,
    on_commit: Callable[[int, float], None] = lambda _size, _seconds: None,
    *,
    audit_kept: int = AUDIT_KEPT,
) -> SqliteStore:
    """An open store in this directory; a fresh one unless there is one. It takes probes."""
    prepare(directory)
    store = SqliteStore(directory, on_commit)
    with probes(audit_kept):
        await store.open()
    return store


def postgres_url(directory: Path) -> str:
    """The URL of the database that stands for a directory: of the present schema, empty at first.

    It ends with the test.
    """
    note = directory / "database"
    if not note.exists():
        template = postgres.server().template("migrated", migrated)
        note.write_text(postgres.new_database(template))
    return postgres.server().url(note.read_text())


def migrated(url: str) -> None:
    """Give a database the present schema."""
    migrate_postgres(PostgresDatabase(database_address(url)))


async def opened_postgres(directory: Path, *, audit_kept: int = AUDIT_KEPT) -> PostgresStore:
    """As :func:`opened`, on PostgreSQL; may be opened several times at once."""
    store = PostgresStore(database_address(postgres_url(directory)))
    with probes(audit_kept):
        await store.open()
    return store


async def opened_as(kind: str, directory: Path, *, audit_kept: int = AUDIT_KEPT) -> Any:
    """An open store of one of the kinds in :data:`STORES`."""
    if kind == "memory":
        return MemoryStore()
    open_store = opened_postgres if kind == "postgres" else opened
    return await open_store(directory, audit_kept=audit_kept)


@asynccontextmanager
async def second_client(store: Any, directory: Path) -> AsyncIterator[Any]:
    """Another client of the database of an open store; it shares no snapshot with the first.

    A store whose database takes several writers is opened a second time here. SQLite's directory
    has one writer at a time: there, both clients call the same one, and each reads for itself.
    """
    if isinstance(store, PostgresStore):
        second = await opened_postgres(directory)
        try:
            yield second
        finally:
            await second.close()
        return
    if not isinstance(store, SqliteStore):
        yield store
        return
    readers = Readers(SqliteDatabase(directory / FILE_NAME))
    try:
        yield Repositories(Session(readers, store.writer))
    finally:
        readers.close()


@contextmanager
def threads_for_processes() -> Iterator[None]:
    """Stores opened meanwhile that want a process of their own write on a thread."""
    real = WriterClient.__init__

    def on_thread(self: WriterClient, *args: Any, own_process: bool) -> None:
        del own_process
        real(self, *args, own_process=False)

    with patch.object(WriterClient, "__init__", on_thread):
        yield


def remove(directory: Path) -> None:
    """Delete what :func:`prepare` and a store left."""
    shutil.rmtree(directory, ignore_errors=True)
