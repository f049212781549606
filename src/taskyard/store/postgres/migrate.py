"""Brings the schema of a database up to date.

The migrations are the numbered files of ``migrations/``. Each is applied in one transaction
together with the row that says so, so a process that is killed leaves either all of it or nothing.
Several processes take turns by an advisory lock, which goes with the transaction.
"""

from collections.abc import Collection
from functools import cache
from importlib import resources
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from taskyard.core.errors import StoreDamaged, Unavailable
from taskyard.store.postgres.database import SCHEMA, PostgresDatabase, check_server
from taskyard.store.postgres.errors import trouble

_LOCK: Final = 0x7461736B79617264
"""Of those who migrate, in the database; spells the schema's name."""
_WAIT: Final = "60s"
"""How long to wait for another process that migrates."""
_TABLE: Final = "schema_migrations"
UNFINISHED: Final = "unfinished copy"
"""Stands in place of a migration while a store is copied here, so that every release refuses it."""
_CREATE: Final[LiteralString] = """
CREATE TABLE schema_migrations (
    id         text COLLATE "C" PRIMARY KEY,
    applied_at bigint NOT NULL
        DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
)"""
_FOREIGN: Final[LiteralString] = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT 1 FROM pg_depend AS d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname LIMIT 1"""
_LACKING: Final[LiteralString] = """
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p')
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
           AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
ORDER BY c.relname LIMIT 1"""


class Migration(NamedTuple):
    """One step of the schema."""

    id: str
    """The name of its file without the suffix; ids are applied in order."""
    script: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this release, in order."""
    folder = resources.files("taskyard.store.postgres") / "migrations"
    return tuple(
        Migration(entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    )


def migrate(database: PostgresDatabase, ids: Collection[str] | None = None) -> str:
    """Bring the schema up to date; answers the id of the installation. Blocks.

    Args:
        database: where.
        ids: the migrations to apply, for a schema of an older release; all if None.

    Raises:
        StoreDamaged: the database is another program's, of a newer release, or unfit for a store.
        StorageFull: there is no room for it; what is missing is applied the next time.
        Unavailable: it cannot be reached or only reads, or the role lacks rights.
    """
    shown = database.address.shown
    try:
        with database.raw() as connection:
            check_server(connection, shown)
            connection.execute(sql.SQL("SET lock_timeout = {}").format(_WAIT))
            connection.execute("SET statement_timeout = 0")
            while _missing(connection, shown, ids):
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                    _apply_next(connection, shown, ids)
            _check_rights(connection, shown)
            row = connection.execute("SELECT id FROM installation").fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(f"{shown}: {_needs_rights(_said(error))}") from error
    except psycopg.Error as error:
        raise trouble(error) from error
    if row is None:
        raise StoreDamaged(f"{shown} has lost the row of its installation; restore a backup")
    return str(row[0])


def installation_of(database: PostgresDatabase) -> str | None:
    """The id of the installation in a database; None if there is none. Blocks, changes nothing.

    Raises as :func:`migrate`.
    """
    shown = database.address.shown
    try:
        with database.raw() as connection:
            check_usable(connection, shown)
            if not _has_table(connection):
                return None
            row = connection.execute("SELECT id FROM installation").fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(f"{shown}: {_needs_rights(_said(error))}") from error
    except psycopg.Error as error:
        raise trouble(error) from error
    return None if row is None else str(row[0])


def check_usable(connection: "psycopg.Connection[Any]", shown: str) -> int:
    """Refuse a database that :func:`migrate` would refuse, without changing it.

    Answers how many migrations it lacks; raises ``StoreDamaged``, ``Unavailable`` as that does.
    """
    try:
        missing = _missing(connection, shown, None)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(f"{shown}: {_needs_rights(_said(error))}") from error
    if _has_table(connection):
        _check_rights(connection, shown)
    else:
        row = connection.execute(
            "SELECT has_schema_privilege(to_regnamespace(%s), 'CREATE')"
            if _has_schema(connection)
            else "SELECT has_database_privilege(current_database(), 'CREATE')",
            (SCHEMA,) if _has_schema(connection) else (),
        ).fetchone()
        if row is None or not row[0]:
            raise Unavailable(f"{shown}: {_needs_rights('it may not create tables')}")
    return len(missing)


def _apply_next(
    connection: "psycopg.Connection[Any]", shown: str, ids: Collection[str] | None
) -> None:
    """Apply the first migration that is missing; what that is may have changed since we looked."""
    missing = _missing(connection, shown, ids)
    if not missing:
        return
    if not _has_schema(connection):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    if not _has_table(connection):
        connection.execute(_CREATE)
    # Ours, and with several statements; as a text they would be taken for one.
    connection.execute(missing[0].script.encode())
    connection.execute("INSERT INTO schema_migrations (id) VALUES (%s)", (missing[0].id,))


def _missing(
    connection: "psycopg.Connection[Any]", shown: str, ids: Collection[str] | None
) -> list[Migration]:
    """What is to be applied. Refuses what is not ours to change."""
    known = migrations()
    wanted = [migration for migration in known if ids is None or migration.id in ids]
    if not _has_table(connection):
        _check_empty(connection, shown)
        return wanted
    applied = {row[0] for row in connection.execute("SELECT id FROM schema_migrations")}
    if UNFINISHED in applied:
        raise StoreDamaged(
            f"{shown} holds an unfinished copy of a store; finish it by running the command that"
            " began it again, or start afresh with its --force"
        )
    if applied - {migration.id for migration in known}:
        raise StoreDamaged(f"{shown} was written by a newer version of Taskyard; upgrade to use it")
    return [migration for migration in wanted if migration.id not in applied]


def _check_empty(connection: "psycopg.Connection[Any]", shown: str) -> None:
    """Take only a database that is empty, or has an empty schema that was made for us."""
    found = connection.execute(_FOREIGN).fetchone()
    if found is None or (_has_schema(connection) and found[0] != SCHEMA and not _used(connection)):
        return
    raise StoreDamaged(
        f"{shown} is the database of something else: it has the table {found[0]}.{found[1]};"
        " create a database for Taskyard, or an empty schema with CREATE SCHEMA taskyard"
        " if the two are to share one"
    )


def _used(connection: "psycopg.Connection[Any]") -> bool:
    row = connection.execute(
        "SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s LIMIT 1",
        (SCHEMA,),
    ).fetchone()
    return row is not None


def _has_schema(connection: "psycopg.Connection[Any]") -> bool:
    row = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)).fetchone()
    return row is not None


def _has_table(connection: "psycopg.Connection[Any]") -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.{_TABLE}",)).fetchone()
    return row is not None and row[0] is not None


def _check_rights(connection: "psycopg.Connection[Any]", shown: str) -> None:
    lacking = connection.execute(_LACKING, (SCHEMA,)).fetchone()
    if lacking is not None:
        user = connection.info.user
        raise Unavailable(
            f"{shown}: the role {user} may not read and write the table {lacking[0]}; as the owner"
            f" of the schema run GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO {user}, and the same"
            " for ALL SEQUENCES, or connect as the owner"
        )


def _said(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or ["rights are missing"])[0]


def _needs_rights(said: str) -> str:
    if f"for schema {SCHEMA}" in said:
        return (
            f"the role lacks rights ({said}); connect as the owner of the schema {SCHEMA}, or as it"
            f" run GRANT ALL ON SCHEMA {SCHEMA} and GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO"
            " the role, and the same for ALL SEQUENCES"
        )
    return (
        f"the role lacks rights ({said}); as the owner of the database run"
        f" CREATE SCHEMA {SCHEMA} AUTHORIZATION followed by the role's name, or connect as the"
        " owner of the schema"
    )
