"""Entries of the store that background work has put aside."""

import sqlite3
from contextlib import closing
from pathlib import Path

from taskyard.cli.doctor.finding import Finding, ok, warn
from taskyard.store.sqlite.database import FILE_NAME, connect

_SHOWN = 3


def check_parked(data: Path) -> Finding | None:
    """Whether anything is parked; None if there is no store that could say."""
    path = data / FILE_NAME
    if not path.exists():
        return None
    try:
        with closing(connect(path, read_only=True)) as connection:
            rows = connection.execute(
                "SELECT kind, key, reason FROM parked ORDER BY since"
            ).fetchall()
    except sqlite3.Error:
        return None  # Made by an older release, or not a store: other checks say so.
    if not rows:
        return ok("parked", "nothing is put aside")
    shown = "; ".join(f"{kind} {key}: {reason}" for kind, key, reason in rows[:_SHOWN])
    more = f"; and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return warn(
        "parked",
        f"{len(rows)} put aside: {shown}{more}",
        "Remove the cause, then restart the server or wait; taskyard parked lists them.",
    )
