"""Stores in databases: addressed, changed, and read back by way of SQLite."""

from pathlib import Path

from whole_stores import checksums, located, unwatched

from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.transfer.address import Location, parse_address
from taskyard.store.transfer.procedures import copy_store
from taskyard.store.transfer.tables import Checksum


def at(url: str) -> Location:
    """The store of a database."""
    return Location(parse_address(url), None)


def run(url: str, sql: str) -> list[tuple[object, ...]]:
    """Run a statement in the store's schema."""
    with PostgresDatabase(database_address(url), "test").raw() as connection:
        cursor = connection.execute(sql.encode())
        return [] if cursor.description is None else cursor.fetchall()


def read_back(url: str, directory: Path) -> dict[str, Checksum]:
    """What is in a database, seen by way of SQLite."""
    copy_store(at(url), located(directory), unwatched, key_elsewhere=True)
    return checksums(directory)
