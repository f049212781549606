"""Brings the schema of a database up to date.

How, says ``store/sql/migrations.py``. The lock by which several processes take turns is an advisory
one of the transaction. Only a database that is empty, or ours, is changed.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from taskyard.core.errors import StoreDamaged, Unavailable
from taskyard.store.postgres.database import SCHEMA, PostgresDatabase, check_server
from taskyard.store.postgres.errors import trouble
from taskyard.store.postgres.pooling import check_pooling
from taskyard.store.sql.migrations import Migration, bring_up_to_date, migrations_of, missing

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


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this release, in order."""
    return migrations_of("taskyard.store.postgres")


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
            check_pooling(database.raw, shown)
            connection.execute(sql.SQL("SET lock_timeout = {}").format(_WAIT))
            connection.execute("SET statement_timeout = 0")
            bring_up_to_date(_Schema(connection, shown), migrations(), ids)
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
    schema = _Schema(connection, shown)
    try:
        lacking = missing(schema, migrations())
        is_prepared = schema.is_prepared()
        if not is_prepared:
            _check_empty(connection, shown)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(f"{shown}: {_needs_rights(_said(error))}") from error
    if is_prepared:
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
    return len(lacking)


class _Schema:
    """Implements ``store.sql.migrations.SchemaDriver``."""

    def __init__(self, connection: "psycopg.Connection[Any]", name: str) -> None:
        self.name = name
        self._connection = connection

    def is_prepared(self) -> bool:
        """See the protocol."""
        return _has_table(self._connection)

    def prepare(self) -> None:
        """See the protocol. Takes only a database that has nothing else in it."""
        _check_empty(self._connection, self.name)
        if not _has_schema(self._connection):
            self._connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
        self._connection.execute(_CREATE)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See the protocol."""
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield

    def applied(self) -> set[str]:
        """See the protocol. Raises ``StoreDamaged`` for a copy that was not finished."""
        if not _has_table(self._connection):
            return set()
        applied = {row[0] for row in self._connection.execute("SELECT id FROM schema_migrations")}
        if UNFINISHED in applied:
            raise StoreDamaged(
                f"{self.name} holds an unfinished copy of a store; finish it by running the command"
                " that began it again, or start afresh with its --force"
            )
        return applied

    def run(self, script: str) -> None:
        """See the protocol."""
        # Ours, and with several statements; as a text they would be taken for one.
        self._connection.execute(script.encode())

    def remember(self, ids: Sequence[str]) -> None:
        """See the protocol."""
        for one in ids:
            self._connection.execute("INSERT INTO schema_migrations (id) VALUES (%s)", (one,))


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
