"""Many rows with one statement.

A statement has a price of its own, whatever it writes; on a thread beside a busy event loop it has
to win the interpreter's lock back besides. One for many rows pays that once instead of once a row.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

T = TypeVar("T")

CHUNK: Final = 32
STATEMENTS: Final = 512
"""Prepared statements kept by a connection that writes: there is one for every number of rows."""


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many as one statement takes, in order."""
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def write_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> int:
    """Insert or change rows in order; answers how many were.

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
