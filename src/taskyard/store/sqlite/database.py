"""The database file: opening it, its queries, its errors, and many rows with one statement."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosql

from taskyard.core.access.redaction import redact_text
from taskyard.core.access.secret_text import Allowance
from taskyard.core.errors import InvalidInput, StorageFull, StoreDamaged, Unavailable

T = TypeVar("T")

FILE_NAME: Final = "taskyard.sqlite3"
CHUNK: Final = 32
"""Rows of one statement at most."""
STATEMENTS: Final = 512
"""Prepared statements kept by a connection that writes: there is one for every number of rows."""
_COLUMNS_IN_BRACES: Final = re.compile(r"\{(\w+\.)?(\w+)\}")
_READ: Final = 4096
"""Characters of a command that are looked through for secrets: one search meets many commands."""


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
    connection.create_function("shown", 1, _shown, deterministic=True)
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


def _shown(text: str | None) -> str | None:
    """A text as it may be shown; for searches, which must not find what is hidden."""
    return None if text is None else redact_text(text, Allowance(_READ))


@contextmanager
def translated() -> Iterator[None]:
    """Raise ``StorageFull``, ``StoreDamaged`` or ``Unavailable`` instead of ``sqlite3.Error``."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull("the disk is full; nothing was stored") from error
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StoreDamaged(f"the store cannot be read: {error}") from error
        raise Unavailable(f"the store failed: {error}") from error


def unstorable() -> InvalidInput:
    """What to raise instead of ``UnicodeEncodeError`` or ``OverflowError``: no column holds it."""
    return InvalidInput("", "contains text or numbers that cannot be stored")


@cache
def queries(name: str) -> Any:
    """The named queries of one ``queries/NAME.sql``; columns in braces are filled in."""
    text = _COLUMNS_IN_BRACES.sub(_filled, _read(name))
    return aiosql.from_str(text, "sqlite3", mandatory_parameters=False)


def _read(name: str) -> str:
    return resources.files("taskyard.store.sqlite").joinpath("queries", f"{name}.sql").read_text()


@cache
def _columns() -> dict[str, list[str]]:
    """The lists of ``queries/columns.sql`` by name."""
    found = re.findall(r"^-- columns: (\w+)\n((?:[^\n-].*\n)+)", _read("columns"), re.MULTILINE)
    return {name: text.replace("\n", " ").strip().split(", ") for name, text in found}


def _filled(match: re.Match[str]) -> str:
    table, name = match.groups()
    return ", ".join(f"{table or ''}{column}" for column in _columns()[name])


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as one statement takes, in order."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def write_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> int:
    """Insert or change rows in order; answers how many were.

    A statement costs a fixed time whatever it writes: one for many rows pays that once.

    Args:
        connection: inside a transaction.
        sql: for one row, whose values are the group behind its last ``VALUES``; the group is
            repeated as needed.
        rows: the values.
    """
    count = 0
    for some in chunks(rows):
        values = [value for row in some for value in row]
        count += connection.execute(_widened(sql, len(some)), values).rowcount
    return count


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
