"""Brings the schema of a store up to date.

The migrations are the numbered files of ``migrations/``. Each is applied in one transaction
together with the row that says so, so a process that is killed leaves either all of it or nothing.
The lock is the database's own (``BEGIN IMMEDIATE``), so there is none to leave behind, and several
processes take turns.

Databases of earlier releases say what was applied in the table of another library. Its rows are
copied once, and one is left there that makes those releases refuse the file instead of changing it.
"""

import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from taskyard.core.errors import StoreDamaged
from taskyard.store.sqlite.database import connect, translated

_WAIT_S: Final = 60.0
"""How long to wait for another process that migrates the same file."""
_PAUSE_S: Final = 0.005
_TABLE: Final = "schema_migrations"
_EARLIER_TABLE: Final = "_yoyo_migration"
_CREATE: Final = f"""
CREATE TABLE {_TABLE} (
    id TEXT PRIMARY KEY,
    applied_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER) * 1000000)
) WITHOUT ROWID"""
_REFUSE_EARLIER: Final = (
    f"INSERT INTO {_EARLIER_TABLE} (migration_hash, migration_id, applied_at_utc)"  # noqa: S608 - constants
    f" VALUES ('{_TABLE}', 'see {_TABLE}', CURRENT_TIMESTAMP)"
)


class Migration(NamedTuple):
    """One step of the schema."""

    id: str
    """The name of its file without the suffix; ids are applied in order."""
    script: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this release, in order."""
    folder = resources.files("taskyard.store.sqlite") / "migrations"
    return tuple(
        Migration(entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    )


def migrate(path: Path, ids: Collection[str] | None = None) -> None:
    """Bring the schema up to date; does nothing if it is. Blocks.

    Args:
        path: of the database.
        ids: the migrations to apply, for a schema of an older release; all if None.

    Raises:
        StoreDamaged: the store cannot be read, or was written by a newer release.
        StorageFull: there is no room for it; what is missing is applied the next time.
        Unavailable: another process keeps the database locked.
    """
    with translated(), closing(_opened(path)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {int(_WAIT_S * 1000)}")
        while not _is_current(connection, path, ids):
            connection.execute("BEGIN IMMEDIATE")
            # Closing the connection rolls back what was not committed.
            _apply_next(connection, path, ids)
            connection.execute("COMMIT")


def statements(script: str) -> Iterator[str]:
    """The statements of a script, each of which begins on a line of its own.

    ``executescript`` would commit the transaction it is called in.
    """
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.startswith("--") for line in statement.splitlines()):
        raise ValueError(f"the last statement has no semicolon: {statement.strip()}")


def _opened(path: Path) -> sqlite3.Connection:
    """A connection; waits for others that make the same file.

    SQLite does not wait by itself while another process turns the write-ahead log on.
    """
    give_up_at = time.monotonic() + _WAIT_S
    while True:
        try:
            return connect(path)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > give_up_at:
                raise
        time.sleep(_PAUSE_S)


def _is_current(connection: sqlite3.Connection, path: Path, ids: Collection[str] | None) -> bool:
    return _has(connection, _TABLE) and not _missing(connection, path, ids)


def _apply_next(connection: sqlite3.Connection, path: Path, ids: Collection[str] | None) -> None:
    """Apply the first migration that is missing; what that is may have changed since we looked."""
    missing = _missing(connection, path, ids)
    if not _has(connection, _TABLE):
        applied = applied_migrations(connection)
        connection.execute(_CREATE)
        _remember(connection, applied)
        if _has(connection, _EARLIER_TABLE):
            connection.execute(_REFUSE_EARLIER)
    if missing:
        for statement in statements(missing[0].script):
            connection.execute(statement)
        _remember(connection, [missing[0].id])


def _missing(
    connection: sqlite3.Connection, path: Path, ids: Collection[str] | None
) -> list[Migration]:
    applied, known = set(applied_migrations(connection)), migrations()
    if applied - {migration.id for migration in known}:
        raise StoreDamaged(f"{path} was written by a newer version of Taskyard; upgrade to use it")
    return [
        migration
        for migration in known
        if migration.id not in applied and (ids is None or migration.id in ids)
    ]


def applied_migrations(connection: sqlite3.Connection) -> list[str]:
    """The ids of the migrations that a database has had; none for a database of something else."""
    for table, column in ((_TABLE, "id"), (_EARLIER_TABLE, "migration_id")):
        if _has(connection, table):
            return [row[0] for row in connection.execute(f"SELECT {column} FROM {table}")]  # noqa: S608 - constants
    return []


def _remember(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    connection.executemany(f"INSERT INTO {_TABLE} (id) VALUES (?)", [(one,) for one in ids])  # noqa: S608 - a constant


def _has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    return found.fetchone() is not None
