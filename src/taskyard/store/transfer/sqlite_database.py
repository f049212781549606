"""SQLite's files as sides of a copy: whose they are, what tables they have, what goes wrong."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from taskyard.core.errors import StorageFull, StoreDamaged, Unavailable
from taskyard.store.sql.rows import column_text
from taskyard.store.sqlite.database import FILE_NAME, connect
from taskyard.store.sqlite.lock import DirectoryLock
from taskyard.store.sqlite.migrate import applied_migrations, migrations
from taskyard.store.transfer.errors import NotAStore, SchemaMismatch
from taskyard.store.transfer.sides import Schema
from taskyard.store.transfer.tables import OF_THE_DATABASE, Column, Key, Kind, Row, Table

_KINDS: Final = {"INTEGER": Kind.INTEGER, "REAL": Kind.REAL, "TEXT": Kind.TEXT, "BLOB": Kind.BYTES}


def current_schema() -> Schema:
    """That of this version."""
    return Schema("sqlite", tuple(migration.id for migration in migrations()))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep servers and other copies away. Raises ``StoreInUse``, ``OSError``."""
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def database_file(directory: Path) -> Path:
    """The file of the database. Raises :class:`NotAStore`, saying what is there instead."""
    path = directory / FILE_NAME
    if directory.is_file():
        raise NotAStore(
            f"{directory} is a file; name the data directory, such as {directory.parent}"
        )
    if (directory / "PG_VERSION").exists():
        raise NotAStore(
            f"{directory} belongs to a PostgreSQL server; name its database by "
            "postgresql://USER@HOST:PORT/DATABASE"
        )
    if not path.exists():
        what = f"has no {FILE_NAME}" if directory.is_dir() else "does not exist"
        raise NotAStore(f"{directory} is not a data directory: it {what}; check the path")
    return path


def has_store(directory: Path) -> bool:
    """Whether there is a database with anything in it, or something that is none of ours."""
    path = directory / FILE_NAME
    if not path.exists() or not path.stat().st_size:
        return False
    with translated(f"sqlite:{directory}"):
        connection = connect(path, read_only=True)
        try:
            return any(
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None  # noqa: S608 - from the schema
                for table in tables_of(connection)
            )
        finally:
            connection.close()


def check_schema(connection: sqlite3.Connection, name: str) -> None:
    """Raise :class:`SchemaMismatch` unless this version made the schema; :class:`NotAStore`."""
    applied = set(applied_migrations(connection))
    known = {migration.id for migration in migrations()}
    if not applied:
        raise NotAStore(f"the database of {name} is not Taskyard's, or has never been served")
    if applied - known:
        raise SchemaMismatch(f"{name} was written by a newer version of Taskyard; upgrade this one")
    if known - applied:
        raise SchemaMismatch(
            f"{name} was written by an older version of Taskyard; start this version on it once "
            "('taskyard up'), which brings it up to date"
        )


def tables_of(connection: sqlite3.Connection) -> dict[str, Table]:
    """All tables that are copied, by their names."""
    names = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%'"
            " ESCAPE '\\' AND name NOT LIKE '\\_yoyo%' ESCAPE '\\' AND name <> 'yoyo_lock'"
        )
    ]
    return {name: _table(connection, name) for name in names if name not in OF_THE_DATABASE}


def _table(connection: sqlite3.Connection, name: str) -> Table:
    columns: list[Column] = []
    key: list[tuple[int, str]] = []
    for _, column, kind, _, _, place, hidden in connection.execute(f"PRAGMA table_xinfo({name})"):
        if hidden:
            continue
        columns.append(Column(column, _KINDS[kind]))
        if place:
            key.append((place, column))
    columns.sort(key=lambda one: one.name)
    return Table(name, tuple(columns), tuple(column for _, column in sorted(key)))


def rows_of(
    connection: sqlite3.Connection, name: str, table: Table, after: Key | None
) -> Iterator[Row]:
    """Rows of a table in order of its key, behind one of them."""
    key = ", ".join(table.key)
    sql = f"SELECT {', '.join(table.names)} FROM {table.name}"  # noqa: S608 - from the schema
    values: Sequence[Any] = ()
    if after is not None:
        sql += f" WHERE ({key}) > ({', '.join('?' * len(after))})"
        values = after
    with translated(name):
        found = connection.execute(f"{sql} ORDER BY {key}", values)
        if table.name != "tasks":
            yield from found
            return
        # Earlier releases wrote names as they were.
        place = table.names.index("name")
        for row in found:
            text = row[place]
            if text is None or "\0" not in text:
                yield row
            else:
                yield (*row[:place], column_text(text), *row[place + 1 :])


def sequences_of(connection: sqlite3.Connection) -> dict[str, int]:
    """The last number that each table gave."""
    return dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())


def numbered_tables(connection: sqlite3.Connection) -> frozenset[str]:
    """Tables that never give a number twice."""
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'"
    )
    return frozenset(name for (name,) in found)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of SQLite as ours, naming the store."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(
                f"the disk of {name} is full; make room, then run the same command again"
            ) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise NotAStore(f"the file {FILE_NAME} of {name} is not an SQLite database") from error
        if code == sqlite3.SQLITE_CORRUPT:
            raise StoreDamaged(f"{name} is damaged and cannot be read: {error}") from error
        raise Unavailable(f"{name} cannot be used: {error}") from error
