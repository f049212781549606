"""Where an installation keeps its state: SQLite in the data directory, or a PostgreSQL database.

With a database, the data directory is that of one control plane of the installation: its worker's
attempts, its functions' builds. It says whose it is (``plane.json``), so that neither two kinds of
store nor two installations are ever mixed up in one directory.
"""

import asyncio
import os
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from taskyard.core.errors import Conflict, InvalidInput, StoreDamaged
from taskyard.core.ids import PlaneId
from taskyard.ports.changes import ChangeLog
from taskyard.ports.database import DatabaseWatch
from taskyard.server.settings import Settings
from taskyard.services.access.encryption import Encryption
from taskyard.store.sql.repositories import Repositories
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.sqlite.disk_space import Reserve
from taskyard.store.sqlite.lock import DirectoryLock
from taskyard.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from taskyard.store.postgres.store import PostgresStore

PLANE_FILE: Final = "plane.json"
_NAME: Final = re.compile(r"[^a-z0-9-]+")

OnCommit = Callable[[int, float], None]


class PlaneFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Which control plane a data directory belongs to."""

    plane: PlaneId
    installation: str
    """Of the database it goes with."""


class Storage:
    """A store that can be opened; entering raises as :meth:`open`.

    Args:
        settings: where it is.
        on_commit: called with the size of each shared commit and the seconds it took.
        own_process: write in a process of its own; on a thread of this one if False.
    """

    store: Repositories
    changes: ChangeLog | None = None
    """What all control planes commit; None if there is only one."""
    database: DatabaseWatch | None = None
    """Looks at the database server; None if there is none."""
    plane: PlaneId | None = None
    """This control plane among those of its installation; None if there is only one."""

    def __init__(
        self,
        settings: Settings,
        on_commit: OnCommit = lambda _size, _seconds: None,
        *,
        own_process: bool = False,
    ) -> None:
        self._data = settings.data.absolute()
        self._lock: DirectoryLock | None = None
        self._opened: SqliteStore | PostgresStore
        if settings.database is None:
            reserve_bytes = settings.disk_reserve_bytes
            self._opened = sqlite = SqliteStore(
                self._data, on_commit, own_process=own_process, reserve_bytes=reserve_bytes
            )
            self.reserve = sqlite.reserve
        else:
            self._opened = postgres = _postgres_store(settings, on_commit, own_process=own_process)
            self.changes = postgres.changes
            self.database = postgres
            self.reserve = Reserve(self._data, 0)
            self._lock = DirectoryLock(self._data)
        self.store = self._opened

    @property
    def installation(self) -> str:
        """Names the installation among those that share a message server."""
        return getattr(self._opened, "installation_id", "")

    def on_announced(self, tell: Callable[[], None]) -> None:
        """Call this after every commit of this process that is in the log of changes."""
        self._opened.writer.on_announced = tell

    async def open(self) -> None:
        """Open it, bring its schema up to date, begin to serve.

        Raises:
            Conflict: the data directory belongs to another installation, or to another store.
            StoreInUse: another process has the data directory.
            StoreDamaged, StorageFull, Unavailable, OSError: as the store's own ``open``.
        """
        loop = asyncio.get_running_loop()
        if self._lock is None:
            await loop.run_in_executor(None, _check_alone, self._data)
            await self._opened.open()
            return
        await loop.run_in_executor(None, self._take_directory, self._lock)
        try:
            await loop.run_in_executor(None, self._check_installation)
            await self._opened.open()
            self.plane = await loop.run_in_executor(
                None, _identified, self._data, self.installation
            )
        except BaseException:
            await self._opened.close()
            self._lock.release()
            raise

    def _take_directory(self, lock: DirectoryLock) -> None:
        self._data.mkdir(parents=True, exist_ok=True, mode=0o711)
        if (self._data / FILE_NAME).exists():
            raise Conflict(
                f"{self._data} holds an installation on SQLite; leave the database out to serve"
                " that, copy it into the database with `taskyard store copy`, or name another"
                " --data directory"
            )
        lock.acquire()

    def _check_installation(self) -> None:
        """Refuse another installation's database, or an empty one, before it is changed."""
        found = _read(self._data)
        if found is not None and not isinstance(self._opened, SqliteStore):
            _check_same(self._data, found, self._opened.find_installation())

    async def check_key(self, encryption: Encryption) -> None:
        """Refuse a key that does not fit the store, or is not that of the installation's planes.

        Raises ``SecretKeyMissing``, ``SecretKeyWrong``, ``Unavailable``.
        """
        await encryption.check()
        if not isinstance(self._opened, SqliteStore):
            await encryption.agree(self._opened.claim_key_sample)

    async def close(self) -> None:
        """Commit what is waiting, close, give the directory back. May be called twice."""
        await self._opened.close()
        if self._lock is not None:
            self._lock.release()


def _postgres_store(
    settings: Settings, on_commit: OnCommit, *, own_process: bool
) -> "PostgresStore":
    try:
        from taskyard.store.postgres.address import database_address  # noqa: PLC0415 - an extra
        from taskyard.store.postgres.store import PostgresStore  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InvalidInput(
            "database", "needs the driver of PostgreSQL: pip install 'taskyard[postgres]'"
        ) from error
    address = database_address(settings.database or "", settings.password_of_database())
    name = f"taskyard {socket.gethostname()}"
    return PostgresStore(address, on_commit, own_process=own_process, name=name)


def _check_alone(data: Path) -> None:
    """Refuse to make a SQLite store where a control plane of a database has its files."""
    found = _read(data)
    if found is not None and not (data / FILE_NAME).exists():
        raise Conflict(
            f"{data} belongs to a control plane of installation {found.installation}, which is on"
            " PostgreSQL; give its --database, or name another --data directory"
        )


def _identified(data: Path, installation: str) -> PlaneId:
    """The plane whose directory this is; from now on, a new one's."""
    found = _read(data)
    if found is None:
        host = _NAME.sub("-", socket.gethostname().lower()).strip("-")[:40] or "plane"
        found = PlaneFile(PlaneId(f"{host}-{secrets.token_hex(3)}"), installation)
        beside = data / f".{PLANE_FILE}.new"
        beside.write_bytes(msgspec.json.encode(found) + b"\n")
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(data / PLANE_FILE)
    else:
        _check_same(data, found, installation)
    return found.plane


def _check_same(data: Path, found: PlaneFile, installation: str | None) -> None:
    """Refuse a directory and a database that do not go together."""
    if found.installation == installation:
        return
    is_that = "empty" if installation is None else f"installation {installation}'s"
    raise Conflict(
        f"{data} belongs to installation {found.installation}, and the database is {is_that};"
        " give the right --database, or name another --data directory"
    )


def _read(data: Path) -> PlaneFile | None:
    path = data / PLANE_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=PlaneFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreDamaged(
            f"{path} cannot be read: {error}; restore it, or remove it if this plane has nothing"
            " running"
        ) from error
