"""Checks a store as it is now, however it is used meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskyard.core.ids import AttemptId
from taskyard.ports.objects import RESULTS, output_key
from taskyard.store.sql.check import Finding, Snapshot, check_bytes, check_rows
from taskyard.store.sqlite.database import SqliteConnection, SqliteDatabase
from taskyard.store.transfer import sqlite, sqlite_database
from taskyard.store.transfer.address import Location, PostgresAddress, SqliteAddress
from taskyard.store.transfer.files import DataFiles


class DirectoryBytes:
    """Implements ``store.sql.check.Bytes`` for a data directory."""

    def __init__(self, directory: Path) -> None:
        self._files = DataFiles(directory)

    def has_stream(self, attempt_id: str, stream: str) -> bool:
        """See the protocol."""
        name = f"attempts/{attempt_id}/{stream}"
        stored = output_key(AttemptId(attempt_id), stream)
        return any(self._files.size(each) is not None for each in (name, f"{name}.gz", stored))

    def has_result(self, attempt_id: str) -> bool:
        """See the protocol."""
        names = f"attempts/{attempt_id}/result", RESULTS + attempt_id
        return any(self._files.size(each) is not None for each in names)

    def has_bundle(self, bundle: str) -> bool:
        """See the protocol."""
        return self._files.size(f"functions/bundles/{bundle[:2]}/{bundle}") is not None


class NoBytes:
    """Implements ``store.sql.check.Bytes`` where no data directory was named."""

    def has_stream(self, attempt_id: str, stream: str) -> bool:
        """See the protocol."""
        del attempt_id, stream
        return False

    def has_result(self, attempt_id: str) -> bool:
        """See the protocol."""
        del attempt_id
        return False

    def has_bundle(self, bundle: str) -> bool:
        """See the protocol."""
        del bundle
        return False


def check_store(location: Location) -> list[Finding]:
    """All rules that do not hold. Blocks.

    Raises:
        NotAStore, SchemaMismatch: it is not a store, or not one of this version.
        StoreDamaged, Unavailable: it cannot be read.
    """
    address = location.address
    kept = NoBytes() if location.data is None else DirectoryBytes(location.data)
    if isinstance(address, PostgresAddress):
        with _postgres(address) as snapshot:
            return [*check_rows(snapshot), *check_bytes(snapshot, kept)]
    with _sqlite(address) as connection:
        return [
            *check_rows(connection),
            *sqlite.check_file(connection),
            *check_bytes(connection, kept),
        ]


@contextmanager
def _sqlite(address: SqliteAddress) -> Iterator[SqliteConnection]:
    """A connection to a store of this version, in one snapshot."""
    path = sqlite_database.database_file(address.directory)
    with sqlite_database.translated(str(address)):
        connection = SqliteDatabase(path).connect_reading()
        try:
            connection.begin()
            sqlite_database.check_schema(connection.raw, str(address))
            yield connection
        finally:
            connection.close()


@contextmanager
def _postgres(address: PostgresAddress) -> Iterator[Snapshot]:
    """One state of a store of this version."""
    from taskyard.store.transfer import (  # noqa: PLC0415 - optional dependencies
        postgres,
        postgres_connection,
    )

    with postgres_connection.connected(address.database) as connection:
        postgres_connection.check_schema(connection, str(address))
        yield postgres.PostgresSnapshot(connection, str(address))
