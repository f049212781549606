"""Finds a pooler that lends its sessions for a transaction at a time.

What a session is told (its schema, its timeouts, that commits are durable) and what it has prepared
would be another one's a moment later. Through a pooler that lends sessions for as long as a
connection lasts, all is well.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

import psycopg

from taskyard.core.errors import StoreDamaged

_TRIES: Final = 5
"""A pooler whose other sessions are busy may give the same one twice by chance."""

Connect = Callable[[], "psycopg.Connection[Any]"]


def check_pooling(connect: Connect, shown: str) -> None:
    """Refuse a pooler that pools transactions or statements.

    Args:
        connect: makes a connection, in autocommit.
        shown: names the database in messages.

    Raises:
        StoreDamaged: there is such a pooler.
        psycopg.Error: the database cannot be asked.
    """
    with closing(connect()) as one:
        # A pooler cannot announce a session that it has not chosen yet.
        if _session(one) == one.info.backend_pid:
            return
        if any(_moves(one, connect) for _ in range(_TRIES)):
            raise StoreDamaged(
                f"{shown} is a pooler that gives every transaction another session; set"
                " pool_mode = session for Taskyard's database, or give the address of PostgreSQL"
                " itself"
            )


def _moves(one: "psycopg.Connection[Any]", connect: Connect) -> bool:
    """Whether a connection may find itself in another session, or another one in its own."""
    with closing(connect()) as other:
        before = _session(one)
        try:
            other.execute("BEGIN")
            return _session(other) == before or _session(one) != before
        except psycopg.errors.ProtocolViolation:
            return True  # PgBouncer, where it pools statements


def _session(connection: "psycopg.Connection[Any]") -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return 0 if row is None else int(row[0])
