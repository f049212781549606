"""Opens the database file, and reads the queries."""

import sqlite3
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import aiosql

from taskyard.core.access.redaction import redact_text
from taskyard.core.access.secret_text import Allowance
from taskyard.store.sqlite.batches import STATEMENTS

FILE_NAME: Final = "taskyard.sqlite3"
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


@cache
def queries(name: str) -> Any:
    """The named queries of one ``queries/NAME.sql``."""
    text = resources.files("taskyard.store.sqlite").joinpath("queries", f"{name}.sql").read_text()
    return aiosql.from_str(text, "sqlite3", mandatory_parameters=False)
