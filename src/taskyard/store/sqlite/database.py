"""The database file: opening it, and the connections to it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from taskyard.core.errors import StorageFull, StoreDamaged, TaskyardError, Unavailable
from taskyard.store.sql.connection import (
    Connection,
    DiskSpace,
    NotAsRemembered,
    Parameters,
    Row,
)
from taskyard.store.sql.queries import queries
from taskyard.store.sqlite.disk_space import Reserve, SqliteDiskSpace

FILE_NAME: Final = "taskyard.sqlite3"
UNFINISHED: Final = f"{FILE_NAME}.unfinished"
"""The database while a store is copied here; it gets its name at the end."""
CHUNK: Final = 32
"""Rows of one statement at most."""
STATEMENTS: Final = 512
"""Prepared statements kept by a connection that writes: there is one for every number of rows."""
_PAGES_AT_ONCE: Final = 2000
_SQL: Final = queries("taskyard.store.sqlite")


class SqliteConnection:
    """Implements ``store.sql.connection.Connection``."""

    failures: Final = (sqlite3.Error,)
    rows_at_once: Final = CHUNK
    keeps_changes: Final = False
    is_shared: Final = False

    def __init__(self, raw: sqlite3.Connection, *, reads: bool = False) -> None:
        """Take over an open connection; ``reads`` if it cannot write."""
        self.raw = raw
        """For what only this database has."""
        self._begin = "BEGIN" if reads else "BEGIN IMMEDIATE"
        self._last_seq = 0
        if not reads:
            # At once: once the newest task is deleted, nothing else tells that it was there.
            (self._last_seq,) = self.execute("tasks.last_seq").fetchone()

    @property
    def total_changes(self) -> int:
        """See the protocol."""
        return self.raw.total_changes

    def trouble(self, error: Exception) -> TaskyardError:
        """See the protocol."""
        return trouble(error)

    def is_conflict(self, error: Exception) -> bool:
        """See the protocol: there is one writer."""
        del error
        return False

    def execute(self, name: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """See the protocol."""
        return self.raw.execute(_SQL[name], parameters)

    def select(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """See the protocol."""
        return self.raw.execute(sql, parameters)

    def text(self, name: str) -> str:
        """See the protocol."""
        return _SQL[name]

    def write_many(self, name: str, rows: Sequence[Row]) -> int:
        """See the protocol. The group behind the last ``VALUES`` is repeated as needed."""
        count = 0
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            values = [value for row in some for value in row]
            count += self.raw.execute(_widened(_SQL[name], len(some)), values).rowcount
        return count

    def change_many(self, name: str, rows: Sequence[Row]) -> list[Any]:
        """See the protocol."""
        changed: list[Any] = []
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            values = [value for row in some for value in row]
            changed += self.raw.execute(_widened(_SQL[name], len(some)), values)
        return changed

    def execute_each(self, name: str, parameters: Sequence[Parameters]) -> list[list[Any]]:
        """See the protocol."""
        return [self.execute(name, one).fetchall() for one in parameters]

    def execute_later(self, name: str, parameters: Parameters = ()) -> None:
        """See the protocol: there is nothing to wait for."""
        self.execute(name, parameters)

    def write_later(self, name: str, rows: Sequence[Row]) -> None:
        """See the protocol: there is nothing to wait for."""
        self.write_many(name, rows)

    def ask(self, name: str, parameters: Parameters = ()) -> "_Answered":
        """See the protocol: there is nothing to wait for."""
        return _Answered(self.execute(name, parameters).fetchall())

    def write_surely(self, name: str, rows: Sequence[Row]) -> None:
        """See the protocol."""
        if self.write_many(name, rows) != len(rows):
            raise NotAsRemembered

    def positions(self, count: int) -> Iterator[int]:
        """See the protocol. Nobody else gives any out: the directory is locked."""
        for _ in range(count):
            self._last_seq += 1
            yield self._last_seq

    def begin(self) -> None:
        """See the protocol."""
        self.raw.execute(self._begin)

    def commit(self) -> None:
        """See the protocol."""
        self.raw.execute("COMMIT")

    def rollback(self) -> None:
        """See the protocol."""
        if self.raw.in_transaction:
            self.raw.rollback()

    def savepoint(self, name: str) -> None:
        """See the protocol."""
        self.raw.execute(f"SAVEPOINT {name}")

    def release(self, name: str) -> None:
        """See the protocol."""
        self.raw.execute(f"RELEASE {name}")

    def undo(self, name: str) -> None:
        """See the protocol."""
        self.raw.execute(f"ROLLBACK TO {name}")
        self.raw.execute(f"RELEASE {name}")

    def give_back(self) -> None:
        """See the protocol. One page a statement: the driver stops after one, whatever is asked."""
        (free,) = self.raw.execute("PRAGMA freelist_count").fetchone()
        for _ in range(min(free, _PAGES_AT_ONCE)):
            self.raw.execute("PRAGMA incremental_vacuum(1)")

    def close(self) -> None:
        """See the protocol."""
        self.raw.close()


class _Answered:
    """Implements ``store.sql.connection.Answer``."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchone(self) -> Any:
        """See the protocol."""
        return self._rows[0] if self._rows else None


class SqliteDatabase:
    """Implements ``store.sql.connection.Database`` for one file.

    Args:
        path: the file.
        reserve_bytes: see ``Reserve``.
    """

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        self.path = path
        self._reserve_bytes = reserve_bytes

    def connect(self) -> SqliteConnection:
        """See the protocol."""
        with translated():
            return SqliteConnection(connect(self.path))

    def connect_reading(self) -> SqliteConnection:
        """See the protocol."""
        with translated():
            return SqliteConnection(connect(self.path, read_only=True), reads=True)

    def disk_space(self, connection: Connection) -> DiskSpace | None:
        """See the protocol."""
        if not isinstance(connection, SqliteConnection):
            raise TypeError(f"not a connection to this database: {connection!r}")
        reserve = Reserve(self.path.parent, self._reserve_bytes)
        return SqliteDiskSpace(connection.raw, self.path, reserve)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection set up the one way all of ours are.

    Autocommit, so that transactions are begun where they are meant; write-ahead log with a full
    sync at each commit, so that a commit that returned survives a power cut.
    """
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"file:{path}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS,
    )
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA temp_store = MEMORY")
    if not read_only:
        # Takes effect on an empty file only; lets retention give space back.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = OFF")
        # Fewer, larger checkpoints: pages that many commits touch are copied once.
        connection.execute("PRAGMA wal_autocheckpoint = 8000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def trouble(error: Exception) -> TaskyardError:
    """What to tell of a ``sqlite3.Error``."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull("the disk is full; nothing was stored")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreDamaged(f"the store cannot be read: {error}")
    return Unavailable(f"the store failed: {error}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise ``StorageFull``, ``StoreDamaged`` or ``Unavailable`` instead of ``sqlite3.Error``."""
    try:
        yield
    except sqlite3.Error as error:
        raise trouble(error) from error


@lru_cache(maxsize=STATEMENTS)
def _widened(sql: str, size: int) -> str:
    head, _, rest = sql.rpartition("VALUES")
    end = _end_of_group(rest)
    return f"{head}VALUES {', '.join([rest[:end].strip()] * size)}{rest[end:]}"


def _end_of_group(text: str) -> int:
    """Where the parenthesis that is opened first has been closed."""
    depth = 0
    for position, letter in enumerate(text, 1):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and not depth:
            return position
    raise ValueError(f"no group of values in {text!r}")
