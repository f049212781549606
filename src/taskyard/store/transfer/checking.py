"""Checks a store as it is now, however it is used meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskyard.store.sql.check import Finding, Snapshot, check_bytes, check_rows
from taskyard.store.sqlite.database import SqliteConnection, SqliteDatabase
from taskyard.store.transfer import sqlite
from taskyard.store.transfer.address import Address, PostgresAddress, SqliteAddress
from taskyard.store.transfer.files import DataFiles


class DirectoryBytes:
    """Implements ``store.sql.check.Bytes`` for a data directory."""

    def __init__(self, directory: Path) -> None:
        self._files = DataFiles(directory)

    def has_stream(self, attempt_id: str, stream: str) -> bool:
        """See the protocol."""
        name = f"attempts/{attempt_id}/{stream}"
        return any(self._files.size(each) is not None for each in (name, f"{name}.gz"))

    def has_result(self, attempt_id: str) -> bool:
        """See the protocol."""
        return self._files.size(f"attempts/{attempt_id}/result") is not None

    def has_bundle(self, bundle: str) -> bool:
        """See the protocol."""
        return self._files.size(f"functions/bundles/{bundle[:2]}/{bundle}") is not None


def check_store(address: Address) -> list[Finding]:
    """All rules that do not hold. Blocks.

    Raises:
        NotAStore, SchemaMismatch: it is not a store, or not one of this version.
        StoreDamaged, Unavailable: it cannot be read.
    """
    if isinstance(address, PostgresAddress):
        with _postgres(address) as snapshot:
            return list(check_rows(snapshot))
    with _sqlite(address) as connection:
        findings = list(check_rows(connection))
        findings += sqlite.check_file(connection)
        findings += check_bytes(connection, DirectoryBytes(address.directory))
    return findings


@contextmanager
def _sqlite(address: SqliteAddress) -> Iterator[SqliteConnection]:
    """A connection to a store of this version, in one snapshot."""
    path = sqlite.database_file(address.directory)
    with sqlite.translated(str(address)):
        connection = SqliteDatabase(path).connect_reading()
        try:
            connection.begin()
            sqlite.check_schema(connection.raw, str(address))
            yield connection
        finally:
            connection.close()


@contextmanager
def _postgres(address: PostgresAddress) -> Iterator[Snapshot]:
    """One state of a store of this version."""
    from taskyard.store.transfer import postgres  # noqa: PLC0415 - an optional dependency

    with postgres.connected(address.database) as connection:
        postgres.check_schema(connection, str(address))
        yield postgres.PostgresSnapshot(connection, str(address))
