"""SQLite as either side of a copy."""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from taskyard.store.sql.check import SHOWN, Finding
from taskyard.store.sql.connection import Connection
from taskyard.store.sqlite.database import FILE_NAME, UNFINISHED, connect
from taskyard.store.sqlite.migrate import migrate
from taskyard.store.transfer.errors import NotEmpty
from taskyard.store.transfer.files import sync_directory
from taskyard.store.transfer.sides import Progress, Schema
from taskyard.store.transfer.sqlite_database import (
    check_schema,
    current_schema,
    database_file,
    numbered_tables,
    rows_of,
    sequences_of,
    tables_of,
    translated,
)
from taskyard.store.transfer.tables import (
    Key,
    Row,
    Table,
    decode_key,
    encode_key,
)

_STATE: Final = (
    "CREATE TABLE IF NOT EXISTS transfer ("
    "name TEXT PRIMARY KEY, rows INTEGER NOT NULL, last BLOB, done INTEGER NOT NULL) STRICT"
)
_ORIGIN: Final = ""
"""The name of the row of ``transfer`` that says where the copy comes from, in ``last``."""


class SqliteSource:
    """A data directory's database, or a copy of one, read in one snapshot."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        """Takes over the connection. Raises :class:`SchemaMismatch`, ``StoreDamaged``."""
        self.name = name
        self.schema = current_schema()
        self._connection = connection
        with translated(name):
            connection.execute("BEGIN")
            check_schema(connection, name)

    def check_unused(self) -> None:
        """See :class:`Source`: whoever copies has the directory's lock."""

    def tables(self) -> Mapping[str, Table]:
        """See :class:`Source`."""
        with translated(self.name):
            return tables_of(self._connection)

    def count(self, table: Table) -> int:
        """See :class:`Source`."""
        with translated(self.name):
            (count,) = self._connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()  # noqa: S608 - from the schema
            return int(count)

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """See :class:`Source`."""
        return rows_of(self._connection, self.name, table, after)

    def sequences(self) -> Mapping[str, int]:
        """See :class:`Source`."""
        with translated(self.name):
            return sequences_of(self._connection)


class SqliteTarget:
    """A database in the making, in the directory that it is for, under another name."""

    def __init__(
        self, directory: Path, origin: str, *, afresh: bool, schema: Schema | None = None
    ) -> None:
        """Go on with the copy from this origin that was left here, or begin it.

        Args:
            directory: locked by the caller.
            origin: what is copied.
            afresh: forget what was left of another copy, or of this one.
            schema: an older one, until all rows are there; this version's if None.

        Raises:
            NotEmpty: the copy that was left is of something else.
        """
        self.name = f"sqlite:{directory}"
        self._directory = directory
        self._path = directory / UNFINISHED
        if afresh:
            self.discard()
        with translated(self.name):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            migrate(self._path, None if schema is None else schema.migrations)
            self._connection = connect(self._path)
            try:
                self._begin(origin)
            except BaseException:
                self._connection.close()
                raise

    def _begin(self, origin: str) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_STATE)
        connection.execute(
            "INSERT INTO transfer VALUES (?, 0, ?, 0) ON CONFLICT DO NOTHING",
            (_ORIGIN, origin.encode()),
        )
        (found,) = connection.execute(
            "SELECT last FROM transfer WHERE name = ?", (_ORIGIN,)
        ).fetchone()
        connection.execute("COMMIT")
        if found != origin.encode():
            raise NotEmpty(
                f"{self.name} holds an unfinished copy of {found.decode()}; "
                "finish that, or start afresh with --force"
            )

    def tables(self) -> Mapping[str, Table]:
        """See :class:`Target`."""
        with translated(self.name):
            return tables_of(self._connection)

    def progress(self) -> Mapping[str, Progress]:
        """See :class:`Target`."""
        with translated(self.name):
            found = self._connection.execute(
                "SELECT name, rows, last, done FROM transfer WHERE name <> ?", (_ORIGIN,)
            ).fetchall()
        return {
            name: Progress(rows, None if last is None else decode_key(last), bool(done))
            for name, rows, last, done in found
        }

    def write(self, table: Table, rows: Sequence[Row], progress: Progress) -> None:
        """See :class:`Target`."""
        connection = self._connection
        marks = ", ".join("?" * len(table.columns))
        last = None if progress.last is None else encode_key(progress.last)
        with translated(self.name):
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(
                    f"INSERT INTO {table.name} ({', '.join(table.names)}) VALUES ({marks})",  # noqa: S608 - from the schema
                    rows,
                )
                connection.execute(
                    "INSERT OR REPLACE INTO transfer VALUES (?, ?, ?, ?)",
                    (table.name, progress.rows, last, int(progress.is_done)),
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """See :class:`Target`."""
        return rows_of(self._connection, self.name, table, after)

    def finish(self, sequences: Mapping[str, int]) -> None:
        """See :class:`Target`."""
        connection = self._connection
        with translated(self.name):
            connection.execute("BEGIN IMMEDIATE")
            known = sequences_of(connection)
            for table, last in sequences.items():
                # Tables that reuse numbers have no such row.
                if table in numbered_tables(connection) and last > known.get(table, 0):
                    connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
                    connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, last))
            connection.execute("DROP TABLE transfer")
            connection.execute("COMMIT")
        # Closing removes the log beside it, so that one file is all of it.
        connection.close()
        migrate(self._path)
        place = self._directory / FILE_NAME
        if place.exists():
            # Whatever is in the log of the one that is replaced goes into its file, so that until
            # the very end it is what it was; a damaged one has nothing to lose.
            with contextlib.suppress(sqlite3.Error):
                connect(place).close()
        for suffix in ("-wal", "-shm"):
            (self._directory / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)
        self._path.replace(place)
        sync_directory(self._directory)

    def discard(self) -> None:
        """Remove what was copied so far."""
        for suffix in ("", "-wal", "-shm"):
            (self._directory / f"{UNFINISHED}{suffix}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connection; what was committed stays for the next time."""
        self._connection.close()


@contextmanager
def opened_source(directory: Path) -> Iterator[SqliteSource]:
    """The database of a data directory, as it is now.

    Raises:
        NotAStore: there is none.
        SchemaMismatch, StoreDamaged, Unavailable: it cannot be read by this version.
    """
    path = database_file(directory)
    name = f"sqlite:{directory}"
    with translated(name):
        connection = connect(path, read_only=True)
    try:
        yield SqliteSource(connection, name)
    finally:
        connection.close()


@contextmanager
def opened_snapshot(directory: Path, beside: Path) -> Iterator[SqliteSource]:
    """The same, of a copy that is made at once and has no name.

    However slowly it is read, the server's log does not grow meanwhile.

    Args:
        directory: the data directory.
        beside: the directory where the copy takes its room.
    """
    path = database_file(directory)
    name = f"sqlite:{directory}"
    descriptor, made = tempfile.mkstemp(prefix=".taskyard-snapshot-", dir=beside)
    os.close(descriptor)
    snapshot = sqlite3.connect(made, isolation_level=None, check_same_thread=False)
    try:
        try:
            with translated(name):
                snapshot.execute("PRAGMA journal_mode = OFF")
                snapshot.execute("PRAGMA synchronous = OFF")
                origin = connect(path, read_only=True)
                try:
                    check_schema(origin, name)
                    origin.backup(snapshot)
                finally:
                    origin.close()
                # Once more, as the mode was copied; without a log of its own it needs no name.
                snapshot.execute("PRAGMA journal_mode = OFF")
                snapshot.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            Path(made).unlink()
        yield SqliteSource(snapshot, name)
    finally:
        snapshot.close()


def check_file(connection: Connection) -> Iterator[Finding]:
    """What is wrong with the file itself, apart from what is in it."""
    found = [text for (text,) in connection.select(f"PRAGMA quick_check({SHOWN})") if text != "ok"]
    if found:
        yield Finding(
            "file",
            "error",
            "The database file is damaged.",
            "Stop the server, and restore a backup.",
            len(found),
            tuple(found),
        )
