"""Addresses of stores: ``sqlite:DIRECTORY`` and ``postgresql://…``."""

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

from taskyard.core.errors import InvalidInput
from taskyard.store.transfer.errors import WrongAddress

if TYPE_CHECKING:
    from taskyard.store.postgres.database import PostgresDatabase

PROGRAM: Final = "taskyard store"
"""The name of our connections, for the operators of a database."""
_SQLITE: Final = "sqlite:"
_POSTGRES: Final = ("postgresql://", "postgres://")


class SqliteAddress(Struct, frozen=True):
    """A data directory with a SQLite database."""

    directory: Path

    def __str__(self) -> str:
        return f"{_SQLITE}{self.directory}"


class PostgresAddress(Struct, frozen=True):
    """A PostgreSQL database."""

    conninfo: str
    """For libpq."""
    shown: str
    """For messages, without anything secret."""

    def __str__(self) -> str:
        return self.shown

    @property
    def database(self) -> "PostgresDatabase":
        """Opens connections to it."""
        from taskyard.store.postgres.address import DatabaseAddress  # noqa: PLC0415 - optional
        from taskyard.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - as above

        return PostgresDatabase(DatabaseAddress(self.conninfo, self.shown), PROGRAM)


Address = SqliteAddress | PostgresAddress


class Location(Struct, frozen=True):
    """A store, and the data directory that belongs to it."""

    address: Address
    data: Path | None
    """None if it was not named; that of an SQLite store is its own."""


def parse_address(text: str, password: str | None = None) -> Address:
    """The store that is meant. Raises :class:`WrongAddress`, quoting no password.

    Args:
        text: the address.
        password: of a PostgreSQL database whose URL has none.
    """
    if text.startswith(_SQLITE):
        path = text.removeprefix(_SQLITE)
        if path.startswith("//"):
            path = path.removeprefix("//")
        if not path:
            raise WrongAddress("sqlite: needs a data directory, such as sqlite:/var/lib/taskyard")
        return SqliteAddress(Path(path))
    if text.startswith(_POSTGRES):
        return _postgres(text, password)
    if "://" in text:
        scheme = text.partition("://")[0]
        raise WrongAddress(f"stores are at sqlite:DIRECTORY or postgresql://…, not at {scheme}://…")
    raise WrongAddress(
        f"{text!r} is not the address of a store; write sqlite:{text} for a data directory, or "
        "postgresql://USER@HOST:PORT/DATABASE"
    )


def _postgres(url: str, password: str | None) -> PostgresAddress:
    try:
        from taskyard.store.postgres.address import database_address  # noqa: PLC0415 - optional
    except ImportError as error:
        raise WrongAddress(
            "PostgreSQL needs a package that is not installed; install 'taskyard[postgres]'"
        ) from error
    try:
        address = database_address(url, None if urlsplit(url).password else password)
    except InvalidInput as error:
        raise WrongAddress(f"the PostgreSQL URL {error.problem}") from error
    return PostgresAddress(address.conninfo, address.shown)
