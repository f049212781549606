"""Connections to a PostgreSQL store that is moved: who else uses it, and what its errors mean."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors

from taskyard.core.errors import StorageFull, StoreDamaged, StoreInUse, TaskyardError
from taskyard.store.postgres.database import LOCK_TIMEOUT_S, PostgresDatabase
from taskyard.store.postgres.errors import ConnectionLost
from taskyard.store.postgres.migrate import UNFINISHED, migrations
from taskyard.store.transfer.address import PROGRAM
from taskyard.store.transfer.errors import (
    Lost,
    NotAllowedThere,
    NotAStore,
    SchemaMismatch,
)
from taskyard.store.transfer.tables import Row

Connection = psycopg.Connection[tuple[Any, ...]]

LOCK: Final = 0x7461736B_6D6F7665
"""Held by whoever copies from or to a database."""
LOCK_WAIT_S = 5.0
"""How long to wait for somebody else's copy."""
BEAT_S: Final = 10
"""Control planes that gave a sign of life within so many seconds may be about to give another."""
BEATS_AGAIN_US: Final = 2_000_000
"""One that has not done so for this long, in microseconds, has ended."""
GONE_WITHIN_S = 4.0
"""Seconds that those who have just ended get."""
_NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_PAUSE_S: Final = 0.1
MIGRATIONS: Final = "schema_migrations"


@contextmanager
def connected(database: PostgresDatabase) -> Iterator[Connection]:
    """A connection in autocommit whose statements may take long. Raises as :func:`translated`."""
    with translated(database.address.shown):
        connection: Connection = database.raw()
    try:
        with translated(database.address.shown):
            # A snapshot is read for hours, and waits while the other side writes.
            run(connection, "SET statement_timeout = 0")
            run(connection, "SET idle_in_transaction_session_timeout = 0")
            # Floats lose nothing, whatever the database is set to.
            run(connection, "SET extra_float_digits = 3")
        yield connection
    finally:
        connection.close()


def lock_for_copy(connection: Connection, name: str) -> None:
    """Keep other copies away, for as long as the connection is open. Raises ``StoreInUse``."""
    with translated(name):
        try:
            # A moment, as the server notices late that a process has ended.
            run(connection, f"SET lock_timeout = {round(LOCK_WAIT_S * 1000)}")
            run(connection, f"SELECT pg_advisory_lock({LOCK})")
            run(connection, f"SET lock_timeout = {LOCK_TIMEOUT_S * 1000}")
        except errors.LockNotAvailable as error:
            raise Busy(
                f"{name} is being copied by another process; wait for it, or stop it"
            ) from error


def check_unused(connection: Connection, name: str) -> None:
    """Raise ``StoreInUse`` if a server is connected, or a control plane beats.

    Waits a moment for those that have just ended.
    """
    give_up_at = time.monotonic() + GONE_WITHIN_S
    with translated(name):
        now = one(connection, _NOW)
        while found := _users(connection, now):
            if time.monotonic() > give_up_at:
                break
            time.sleep(_PAUSE_S)
    if found:
        raise Busy(
            f"{name} is in use by {', '.join(found)}; stop all control planes, then run the same "
            "command again"
        )


def _users(connection: Connection, since: int) -> list[str]:
    """Planes that have beaten since, or may still do so; and programs of servers."""
    planes = run(
        connection,
        "SELECT name || ' (' || address || ')' FROM planes"
        " WHERE beat_at > %s OR (beat_at > %s AND %s > %s) ORDER BY name",
        (since, since - BEAT_S * 1_000_000, since + BEATS_AGAIN_US, one(connection, _NOW)),
    ).fetchall()
    programs = run(
        connection,
        "SELECT DISTINCT application_name || coalesce(' at ' || host(client_addr), '')"
        " FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'taskyard%%' AND application_name <> %s ORDER BY 1",
        (PROGRAM,),
    ).fetchall()
    return [text for (text,) in (*planes, *programs)]


def check_schema(connection: Connection, name: str) -> None:
    """Raise :class:`SchemaMismatch` unless this version made the schema, :class:`NotAStore`."""
    with translated(name):
        applied = migrations_applied(connection)
    known = {migration.id for migration in migrations()}
    if not applied:
        raise NotAStore(f"{name} has no Taskyard store in it; check the name of the database")
    if UNFINISHED in applied:
        raise NotAStore(
            f"{name} holds an unfinished copy; finish it by running the command that began it again"
        )
    if applied - known:
        raise SchemaMismatch(f"{name} was written by a newer version of Taskyard; upgrade this one")
    if known - applied:
        raise SchemaMismatch(
            f"{name} was written by an older version of Taskyard; start this version on it once "
            "('taskyard up'), which brings it up to date"
        )


class Busy(StoreInUse):
    """Another process uses the database."""

    def __init__(self, message: str) -> None:
        TaskyardError.__init__(self, message)
        self.path = ""
        self.owner = None


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of PostgreSQL as ours, naming the database and no password."""
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(name, error) from error


def _meaning(name: str, error: psycopg.Error) -> TaskyardError:
    text = " ".join(str(error).split())
    if isinstance(error, errors.DiskFull):
        return StorageFull(
            f"the disk of {name} is full; make room, then run the same command again"
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return NotAllowedThere(f"{name} is a read-only replica; name the primary server")
    if isinstance(error, errors.InsufficientPrivilege):
        return NotAllowedThere(f"the user of {name} lacks a right there: {text}; grant it")
    if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
        return StoreDamaged(f"{name} is damaged and cannot be read: {text}")
    said = text.lower()
    if "password" in said or "authentication" in said:
        return NotAllowedThere(
            f"{name} refuses the user or password; give the password with "
            "--password-file, TASKYARD_DATABASE_PASSWORD or a ~/.pgpass file"
        )
    if "does not exist" in said and isinstance(error, psycopg.OperationalError):
        return NotAStore(f"{name} cannot be opened: {text}")
    if isinstance(error, ConnectionLost):
        return Lost(f"{name} cannot be reached: {text}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Lost(
            f"the connection to {name} was lost: {text}; run the same command again once the "
            "database is back"
        )
    return Lost(f"{name} failed: {text}")


def migrations_applied(connection: Connection) -> set[str]:
    """The ids of the migrations that a database has had; none for a database of something else."""
    if one(connection, f"SELECT to_regclass('{MIGRATIONS}')") is None:
        return set()
    return {row[0] for row in run(connection, f"SELECT id FROM {MIGRATIONS}").fetchall()}  # noqa: S608 - a constant


def run(connection: Connection, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Row]:
    """Run a statement of the driver's own words."""
    return connection.execute(sql, values or None)


def one(connection: Connection, sql: str) -> Any:
    """The only value that a query answers; None without a row."""
    row = run(connection, sql).fetchone()
    return None if row is None else row[0]
