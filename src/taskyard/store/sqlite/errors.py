"""Translates the driver's errors into the project's, once, for every query."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from taskyard.core.errors import StorageFull, StoreDamaged, Unavailable


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
