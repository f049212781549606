"""Brings the schema of a file up to date.

How, says ``store/sql/migrations.py``. The lock by which several processes take turns is the
database's own (``BEGIN IMMEDIATE``).

Databases of earlier releases say what was applied in the table of another library. Its rows are
copied once, and one is left there that makes those releases refuse the file instead of changing it.
"""

import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from taskyard.store.sql.migrations import Migration, bring_up_to_date, migrations_of
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


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this release, in order."""
    return migrations_of("taskyard.store.sqlite")


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
        bring_up_to_date(_Schema(connection, str(path)), migrations(), ids)


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


def applied_migrations(connection: sqlite3.Connection) -> list[str]:
    """The ids of the migrations that a database has had; none for a database of something else."""
    for table, column in ((_TABLE, "id"), (_EARLIER_TABLE, "migration_id")):
        if _has(connection, table):
            return [row[0] for row in connection.execute(f"SELECT {column} FROM {table}")]  # noqa: S608 - constants
    return []


def _has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    )
    return found.fetchone() is not None


class _Schema:
    """Implements ``store.sql.migrations.SchemaDriver``."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.name = name
        self._connection = connection

    def is_prepared(self) -> bool:
        """See the protocol."""
        return _has(self._connection, _TABLE)

    def prepare(self) -> None:
        """See the protocol."""
        applied = applied_migrations(self._connection)
        self._connection.execute(_CREATE)
        self.remember(applied)
        if _has(self._connection, _EARLIER_TABLE):
            self._connection.execute(_REFUSE_EARLIER)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See the protocol. Closing the connection rolls back what was not committed."""
        self._connection.execute("BEGIN IMMEDIATE")
        yield
        self._connection.execute("COMMIT")

    def applied(self) -> list[str]:
        """See the protocol."""
        return applied_migrations(self._connection)

    def run(self, script: str) -> None:
        """See the protocol."""
        for statement in statements(script):
            self._connection.execute(statement)

    def remember(self, ids: Sequence[str]) -> None:
        """See the protocol."""
        self._connection.executemany(
            f"INSERT INTO {_TABLE} (id) VALUES (?)",  # noqa: S608 - a constant
            [(one,) for one in ids],
        )
