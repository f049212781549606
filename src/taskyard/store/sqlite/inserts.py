"""Many rows with one statement.

Each statement gives the interpreter's lock away and has to get it back from a busy event loop.
One statement for many rows pays that once instead of once a row.
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

CHUNK: Final = 32


def insert_many(connection: sqlite3.Connection, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows in order, with the values group of a one-row statement repeated as needed."""
    start = 0
    while start < len(rows):
        size = _chunk(len(rows) - start)
        values = [value for row in rows[start : start + size] for value in row]
        connection.execute(_widened(sql, size), values)
        start += size


def _chunk(left: int) -> int:
    """The largest power of two that fits, so that few statements have to be prepared."""
    return min(CHUNK, 1 << (left.bit_length() - 1))


@lru_cache(maxsize=64)
def _widened(sql: str, size: int) -> str:
    head, _, values = sql.rpartition("VALUES")
    group = values.strip().rstrip(";")
    return f"{head}VALUES {', '.join([group] * size)}"
