"""PostgreSQL and NATS, as the settings of a server name them: can an installation live there?"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from taskyard.cli.doctor.finding import Finding, fail, ok, warn
from taskyard.cli.doctor.server import overrides_of
from taskyard.cli.quantities import format_duration
from taskyard.core.errors import InvalidInput, TaskyardError

if TYPE_CHECKING:
    import psycopg

    from taskyard.server.settings import Settings

_CONNECTIONS_OF_A_PLANE: Final = 16
"""What one control plane may have open: readers, the writer, the log of changes, objects."""
_PLANES: Final = 3
_DRIFT_S: Final = 1.0
"""Leases and leaders go by the database's clock, due times are shown by the machine's."""
OLD_S: Final = 600.0
"""A snapshot that is held for longer keeps vacuum from removing rows that change every second."""
_DURABLE: Final = {
    "fsync": "a crash of its machine may destroy the whole database",
    "full_page_writes": "a crash of its machine may destroy pages that were being written",
}


def check_database(
    data: Path, database: str | None = None, nats: str | None = None
) -> Iterator[Finding]:
    """Whether the database and NATS can serve; nothing is changed, and nothing said without them.

    Args:
        data: the data directory, for settings.
        database: its URL; that of the settings if None.
        nats: address of NATS; that of the settings if None.
    """
    from taskyard.server.settings import Settings  # noqa: PLC0415 - loads slowly

    try:
        settings = Settings.load(None, {"data": data} | overrides_of(database, nats))
    except InvalidInput as error:
        if database is not None or nats is not None:
            yield fail("database", str(error), "Correct it; the server would not start.")
        return  # Otherwise another check says so.
    if settings.database is not None:
        yield from _check_postgres(settings)
    if settings.nats.url is not None:
        yield _check_nats(settings)


def _check_postgres(settings: "Settings") -> Iterator[Finding]:
    try:
        import psycopg  # noqa: PLC0415 - an extra

        from taskyard.store.postgres.address import database_address  # noqa: PLC0415 - an extra
        from taskyard.store.postgres.database import (  # noqa: PLC0415 - an extra
            PostgresDatabase,
            check_server,
        )
        from taskyard.store.postgres.errors import trouble  # noqa: PLC0415 - an extra
        from taskyard.store.postgres.migrate import check_usable  # noqa: PLC0415 - an extra
        from taskyard.store.postgres.pooling import check_pooling  # noqa: PLC0415 - an extra
    except ImportError:
        yield fail("database", "the driver is missing", "pip install 'taskyard[postgres]'")
        return
    try:
        address = database_address(settings.database or "", settings.password_of_database())
        opened = PostgresDatabase(address, "taskyard doctor")
        with closing(opened.raw()) as connection:
            check_server(connection, address.shown)
            check_pooling(opened.raw, address.shown)
            version = connection.info.server_version
            shown = f"PostgreSQL {version // 10_000}.{version % 10_000}, {address.shown}"
            check_usable(connection, address.shown)
            yield ok("database", shown)
            yield from _check_settings(connection)
            yield _check_connections(connection)
            yield _check_database_clock(connection)
            yield from _check_sessions(connection)
    except TaskyardError as error:
        yield _failure("database", error)
    except psycopg.Error as error:
        yield _failure("database", trouble(error))


def _failure(check: str, error: TaskyardError) -> Finding:
    """Errors say what is wrong, and behind a semicolon what to do."""
    said, _, hint = str(error).rpartition("; ")
    if not said:
        return fail(check, hint, "Correct it; the server would not start.")
    return fail(check, said, f"{hint[:1].upper()}{hint[1:]}.")


def _check_settings(connection: "psycopg.Connection[Any]") -> Iterator[Finding]:
    rows = connection.execute(
        "SELECT name, setting, reset_val FROM pg_settings WHERE name IN"
        " ('fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum', 'track_counts')"
    ).fetchall()
    now = {name: setting for name, setting, _ in rows}
    meant = {name: meant for name, _, meant in rows}
    unsafe = [name for name in _DURABLE if now.get(name) == "off"]
    for name in unsafe:
        yield fail("durability", f"{name} is off: {_DURABLE[name]}", _set(name))
    if meant.get("synchronous_commit") == "off":
        yield warn(
            "durability",
            "synchronous_commit is off; Taskyard turns it on for its own connections",
            "Leave it on for Taskyard's role, so that other tools that write are durable, too.",
        )
    elif not unsafe:
        yield ok("durability", "fsync, full_page_writes and synchronous_commit are on")
    vacuum_off = [name for name in ("autovacuum", "track_counts") if now.get(name) == "off"]
    if vacuum_off:
        text = f"{vacuum_off[0]} is off: tables that change every second grow without end"
        yield fail("autovacuum", text, _set(vacuum_off[0]))
    else:
        yield ok("autovacuum", "on")


def _set(name: str) -> str:
    return f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"


def _check_connections(connection: "psycopg.Connection[Any]") -> Finding:
    most, reserved, used, role_limit, database_limit = _row(
        connection,
        "SELECT current_setting('max_connections')::int,"
        " current_setting('superuser_reserved_connections')::int,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())",
    )
    limits = [most - reserved, *(one for one in (role_limit, database_limit) if one >= 0)]
    room, needed = min(limits), _PLANES * _CONNECTIONS_OF_A_PLANE
    shown = f"{room} at most, {used} in use"
    if room < _CONNECTIONS_OF_A_PLANE:
        return fail(
            "connections",
            f"{shown}; a control plane may need {_CONNECTIONS_OF_A_PLANE}",
            "Raise max_connections, or the CONNECTION LIMIT of the role and the database.",
        )
    if room < needed:
        return warn(
            "connections",
            f"{shown}; enough for {room // _CONNECTIONS_OF_A_PLANE} control planes",
            f"Raise max_connections, or the CONNECTION LIMIT, to {needed} for {_PLANES}.",
        )
    return ok("connections", f"{shown}; a control plane may need {_CONNECTIONS_OF_A_PLANE}")


def _check_database_clock(connection: "psycopg.Connection[Any]") -> Finding:
    before = time.time()
    (there,) = _row(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    after = time.time()
    # Whatever the way there and back took is not the clock's.
    difference_s = max(0.0, there - after, before - there)
    if difference_s > _DRIFT_S:
        return warn(
            "database clock",
            f"{difference_s:.1f} s from this machine's",
            "Synchronize both with NTP; schedules and leases go by them.",
        )
    return ok("database clock", f"within {max(difference_s, after - before):.2f} s of this one")


def _check_sessions(connection: "psycopg.Connection[Any]") -> Iterator[Finding]:
    rows = connection.execute(
        "SELECT pid, coalesce(usename, '?'), coalesce(application_name, ''), state,"
        " extract(epoch FROM clock_timestamp() - xact_start)::float8"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND xact_start < clock_timestamp() - make_interval(secs => %s)"
        " AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state LIKE 'idle in%%')"
        " ORDER BY xact_start LIMIT 20",
        (OLD_S,),
    ).fetchall()
    if not rows:
        yield ok("old transactions", "none")
    for pid, user, program, state, age_s in rows[:3]:
        what = "waits in a transaction" if "idle in" in (state or "") else "runs one transaction"
        yield warn(
            "old transactions",
            f"process {pid} of {user} ({program or 'no name'}) {what} for"
            f" {format_duration(age_s)}: vacuum removes nothing that is newer",
            f"End it: SELECT pg_terminate_backend({pid}); and set"
            " idle_in_transaction_session_timeout for its role.",
        )
    held = connection.execute(
        "SELECT slot_name, age(xmin), age(catalog_xmin) FROM pg_replication_slots"
        " WHERE NOT active AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL) LIMIT 3"
    ).fetchall()
    for name, _, _ in held:
        yield warn(
            "old transactions",
            f"the replication slot {name} has no reader and keeps vacuum from removing rows",
            f"Start its reader, or SELECT pg_drop_replication_slot('{name}');",
        )


def _row(connection: "psycopg.Connection[Any]", query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise AssertionError("a query without FROM has a row")
    return tuple(row)


def _check_nats(settings: "Settings") -> Finding:
    from taskyard.transport.nats.probe import probe  # noqa: PLC0415 - loads slowly

    try:
        return ok("nats", probe(settings.nats.options()))
    except TaskyardError as error:
        return _failure("nats", error)
