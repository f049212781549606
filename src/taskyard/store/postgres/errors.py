"""What PostgreSQL reports, as errors of the store that say what to do next."""

from typing import Final

import psycopg

from taskyard.core.errors import StorageFull, StoreDamaged, TaskyardError, Unavailable

_CONFLICTS: Final = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "23505",  # somebody else inserted the same key meanwhile
    "0A000",  # a prepared statement whose table has changed since
    "26000",  # a prepared statement that a pooler has dropped
    "22012",  # rows were not as they were remembered to be (statements.py)
}
_STALE: Final = {"0A000", "26000"}
_DAMAGED: Final = {"XX001", "XX002", "58P01"}
_HINTS: Final = {
    "25006": "the database is read-only, as a replica is: give the address of the primary",
    "42501": "the role lacks rights: grant them, or connect as the role that created the schema",
    "55P03": "another transaction holds a lock for too long: look at pg_stat_activity",
    "57014": "a statement took too long: look at PostgreSQL's load",
    "57P03": "PostgreSQL is starting or stopping",
    "53200": "PostgreSQL is out of memory",
    "42P01": "a table is missing: restore a backup, or give Taskyard an empty database",
    "3F000": "the schema is missing: restore a backup, or give Taskyard an empty database",
}


_UNREACHED: Final = {
    "password authentication failed": "check the user and the password",
    "no password supplied": "give a password",
    "no pg_hba.conf entry": "have its pg_hba.conf admit this user from this address",
    "session is read-only": "none of the servers takes writes: give the address of the primary",
    "could not translate host name": "check the name of the host",
    "failed to resolve host": "check the name of the host",
    "certificate": "check sslmode, sslrootcert and the server's certificate",
    "SSL": "check sslmode, and whether the server takes TLS",
    "too many connections for role": "raise the role's CONNECTION LIMIT",
    "too many connections for database": "raise the database's CONNECTION LIMIT",
    "too many": "raise its max_connections",
    "remaining connection slots": "raise its max_connections",
    "query_wait_timeout": "raise the pooler's default_pool_size",
    "the database system is": "PostgreSQL is starting or stopping: wait for it",
    "role ": "check the user, or create it with CREATE ROLE … LOGIN",
    "database ": "check the name of the database, or create it with CREATE DATABASE",
}
"""What to do, by a part of what libpq says: it tells no code."""


class ConnectionLost(psycopg.OperationalError):
    """The connection ended, or none could be had.

    Args:
        text: what happened.
        sent: whether a commit was on its way, so that nobody knows what became of it.
        retry: whether another connection may be had at once.
    """

    def __init__(self, text: str, *, sent: bool = False, retry: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.retry = retry


def not_connected(error: psycopg.Error) -> ConnectionLost:
    """For the failure to connect: what the server or libpq said, and what to do about it."""
    said = " ".join(str(error).split()).removeprefix("connection failed: ")
    found = (hint for part, hint in _UNREACHED.items() if part in said)
    hint = next(found, "check that it runs, and that host and port are right")
    return ConnectionLost(f"{said}; {hint}")


def is_conflict(error: Exception) -> bool:
    """Whether a transaction that failed is worth another try at once.

    One whose connection was lost before its commit was sent is: nothing of it was stored.
    """
    if isinstance(error, ConnectionLost):
        return error.retry and not error.sent
    return isinstance(error, psycopg.Error) and error.sqlstate in _CONFLICTS


def is_stale(error: psycopg.Error) -> bool:
    """Whether prepared statements have to be prepared again."""
    return error.sqlstate in _STALE


def trouble(error: Exception) -> TaskyardError:
    """``StorageFull``, ``StoreDamaged`` or ``Unavailable``, for an error of the driver."""
    if isinstance(error, ConnectionLost) and error.sent:
        text = f"the connection to PostgreSQL was lost in a commit: {_first_line(error)}"
        return Unavailable(f"{text}; whether this was stored is not known")
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    said = _first_line(error)
    if state == "53100":
        return StorageFull(f"PostgreSQL's disk is full; nothing was stored ({said})")
    if state in _DAMAGED:
        return StoreDamaged(f"the store cannot be read: {said}; restore a backup")
    hint = _HINTS.get(state or "")
    if hint is not None:
        return Unavailable(f"{hint} ({said})")
    if isinstance(error, ConnectionLost):
        return Unavailable(f"PostgreSQL cannot be reached: {said}")
    return Unavailable(f"the store failed: {said}")


def _first_line(error: Exception) -> str:
    """What the server said, without where in which statement."""
    message = str(error).strip()
    return message.splitlines()[0].rstrip() if message else repr(error)
