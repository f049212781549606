"""PostgreSQL as either side of a copy."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg

from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.migrate import UNFINISHED, migrate, migrations
from taskyard.store.sql.queries import queries
from taskyard.store.transfer.errors import (
    NotAStore,
    NotEmpty,
    SchemaMismatch,
)
from taskyard.store.transfer.postgres_connection import (
    MIGRATIONS,
    Connection,
    check_unused,
    connected,
    migrations_applied,
    one,
    run,
    translated,
)
from taskyard.store.transfer.sides import Progress, Schema
from taskyard.store.transfer.tables import (
    OF_THE_DATABASE,
    Column,
    Key,
    Kind,
    Row,
    Table,
    decode_key,
    encode_key,
)

FETCHED: Final = 500
"""Rows that are fetched at once."""
_KINDS: Final = {
    "bigint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "double precision": Kind.REAL,
    "text": Kind.TEXT,
    "bytea": Kind.BYTES,
}
_COLUMNS: Final = """
SELECT c.relname, a.attname, format_type(a.atttypid, NULL),
       array_position(i.indkey::int2[], a.attnum)
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition AND a.attgenerated = ''
ORDER BY c.relname, a.attname"""
_IDENTITIES: Final = """
SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
  AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL"""
_STATE: Final = (
    "CREATE TABLE IF NOT EXISTS transfer ("
    "name text PRIMARY KEY, rows bigint NOT NULL, last bytea, done bigint NOT NULL)"
)
_EMPTIED: Final = frozenset(
    {
        *("planes", "changes", "objects", "object_chunks", "object_orphans"),
        *("task_count_shards", "output_total_shards"),
    }
)
"""Tables that say something of what is in the others."""
_ADDED_UP: Final = {
    "task_counts": "(SELECT workspace, group_name, state, sum(total)::bigint AS total"
    " FROM all_task_counts GROUP BY workspace, group_name, state HAVING sum(total) <> 0)"
    " AS task_counts",
    "output_totals": "(SELECT workspace, sum(stored_bytes)::bigint AS stored_bytes"
    " FROM all_output_totals GROUP BY workspace) AS output_totals",
}
"""What to read instead of tables of which each writer has rows elsewhere."""
_CURSOR: Final = "taskyard_rows"
_TASKS: Final = "tasks"
_TASK_SEQ: Final = "task_seq"
"""Gives tasks their positions."""


def current_schema() -> Schema:
    """That of this version."""
    return Schema("postgresql", tuple(migration.id for migration in migrations()))


class PostgresSource:
    """A database, read in one snapshot."""

    def __init__(self, connection: Connection, database: PostgresDatabase) -> None:
        """Begins a snapshot, which ends with the connection; the caller closes it."""
        self.name = name = database.address.shown
        self.schema = current_schema()
        self._database = database
        self._connection = connection
        with translated(name):
            run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def tables(self) -> Mapping[str, Table]:
        """See :class:`Source`."""
        with translated(self.name):
            return _tables(self._connection)

    def count(self, table: Table) -> int:
        """See :class:`Source`."""
        with translated(self.name):
            name = _ADDED_UP.get(table.name, table.name)
            return int(one(self._connection, f"SELECT count(*) FROM {name}"))  # noqa: S608 - from the schema

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """See :class:`Source`."""
        return _rows(self._connection, self.name, table, after)

    def sequences(self) -> Mapping[str, int]:
        """See :class:`Source`."""
        with translated(self.name):
            found = run(self._connection, _IDENTITIES).fetchall()
            return {
                table: int(last)
                for table, _, sequence in [*found, (_TASKS, "seq", _TASK_SEQ)]
                if (last := _last_value(self._connection, sequence)) is not None
            }

    def check_unused(self) -> None:
        """See :class:`Source`."""
        # The snapshot knows nothing of what happened since.
        with connected(self._database) as connection:
            check_unused(connection, self.name)


class PostgresSnapshot:
    """One state of a database, as the checker's ``Snapshot``."""

    def __init__(self, connection: Connection, name: str) -> None:
        """Begins it; it ends with the connection, which the caller closes."""
        self._connection = connection
        self._name = name
        with translated(name):
            run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def execute(self, name: str) -> Iterator[Row]:
        """Run a named query that takes no values; its rows come as they are asked for."""
        with translated(self._name):
            yield from _fetched(self._connection, queries("taskyard.store.postgres")[name])


class PostgresTarget:
    """A database in the making: marked, so that no server opens it."""

    def __init__(
        self,
        connection: Connection,
        database: PostgresDatabase,
        origin: str,
        *,
        force: bool,
        resumes: bool,
    ) -> None:
        """Go on with the copy from this origin that was left here, or begin it.

        The schema is there and current; the caller closes the connection.

        Args:
            connection: in autocommit, with the lock of copies.
            database: where it is.
            origin: what is copied.
            force: empty it first, whatever is in it.
            resumes: go on with an unfinished copy, instead of beginning again.

        Raises:
            NotEmpty: there is a store in it, or another unfinished copy.
        """
        self.name = name = database.address.shown
        self._database = database
        self._connection = connection
        with translated(name), connection.transaction():
            self._begin(origin, force=force, resumes=resumes)

    def _begin(self, origin: str, *, force: bool, resumes: bool) -> None:
        connection = self._connection
        is_marked = run(
            connection,
            f"SELECT 1 FROM {MIGRATIONS} WHERE id = %s",  # noqa: S608 - a constant
            (UNFINISHED,),
        ).fetchone()
        tables = _tables(connection)
        if not is_marked and not force and (filled := _filled(connection, tables)):
            raise NotEmpty(
                f"{self.name} holds a store already (its table {filled} has rows); "
                "name an empty database, or replace everything in this one with --force"
            )
        if not is_marked or force or not resumes:
            names = ", ".join(sorted({*tables, *_ephemeral(connection)}))
            run(connection, f"TRUNCATE {names}")
            run(connection, "DROP TABLE IF EXISTS transfer")
        run(connection, _STATE)
        if not is_marked:
            run(connection, f"INSERT INTO {MIGRATIONS} (id) VALUES (%s)", (UNFINISHED,))  # noqa: S608 - a constant
        run(
            connection,
            "INSERT INTO transfer VALUES ('', 0, %s, 0) ON CONFLICT DO NOTHING",
            (origin.encode(),),
        )
        found = bytes(one(connection, "SELECT last FROM transfer WHERE name = ''")).decode()
        if found != origin:
            raise NotEmpty(
                f"{self.name} holds an unfinished copy of {found}; "
                "finish that, or start afresh with --force"
            )

    def tables(self) -> Mapping[str, Table]:
        """See :class:`Target`."""
        with translated(self.name):
            return _tables(self._connection)

    def progress(self) -> Mapping[str, Progress]:
        """See :class:`Target`."""
        with translated(self.name):
            found = run(
                self._connection, "SELECT name, rows, last, done FROM transfer WHERE name <> ''"
            ).fetchall()
        return {
            name: Progress(rows, None if last is None else decode_key(bytes(last)), bool(done))
            for name, rows, last, done in found
        }

    def write(self, table: Table, rows: Sequence[Row], progress: Progress) -> None:
        """See :class:`Target`. Raises :class:`NotAStore` for text that PostgreSQL cannot hold."""
        last = None if progress.last is None else encode_key(progress.last)
        connection = self._connection
        check_text(table, rows, self.name)
        with translated(self.name), connection.transaction():
            if rows:
                columns = ", ".join(table.names)
                with (
                    connection.cursor() as cursor,
                    cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy,
                ):
                    for row in rows:
                        copy.write_row(row)
            run(
                connection,
                "INSERT INTO transfer VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET "
                "rows = excluded.rows, last = excluded.last, done = excluded.done",
                (table.name, progress.rows, last, int(progress.is_done)),
            )

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """See :class:`Target`."""
        with translated(self.name):
            transaction = self._connection.transaction()
            with transaction:
                yield from _rows(self._connection, self.name, table, after)

    def finish(self, sequences: Mapping[str, int]) -> None:
        """See :class:`Target`."""
        connection = self._connection
        with translated(self.name), connection.transaction():
            found = run(connection, _IDENTITIES).fetchall()
            for table, column, sequence in [*found, (_TASKS, "seq", _TASK_SEQ)]:
                highest = one(connection, f"SELECT max({column}) FROM {table}")  # noqa: S608 - from the schema
                _go_on_behind(connection, sequence, max(sequences.get(table, 0), highest or 0))
            run(connection, "DROP TABLE transfer")
            run(connection, f"DELETE FROM {MIGRATIONS} WHERE id = %s", (UNFINISHED,))  # noqa: S608 - a constant
        migrate(self._database)
        with translated(self.name):
            run(connection, "ANALYZE")


def prepare(
    connection: Connection, database: PostgresDatabase, schema: Schema | None = None
) -> None:
    """Bring the schema up to date, unless an unfinished copy is in it.

    Args:
        connection: to it.
        database: where it is.
        schema: an older one, to be made instead.

    Raises:
        SchemaMismatch: it is that of another version.
        TaskyardError: as ``store.postgres.migrate.migrate`` does.
    """
    name = database.address.shown
    with translated(name):
        applied = migrations_applied(connection)
    wanted = (schema or current_schema()).migrations
    if UNFINISHED not in applied:
        migrate(database, wanted)
        applied |= {*wanted}
    if applied - {UNFINISHED} != {*wanted}:
        raise SchemaMismatch(
            f"the tables of {name} are those of another version of Taskyard than what is copied; "
            "name an empty database"
        )


def check_text(table: Table, rows: Sequence[Row], name: str) -> None:
    """Raise :class:`NotAStore` for text that PostgreSQL cannot hold, naming its row."""
    for row in rows:
        for column, value in zip(table.columns, row, strict=True):
            if isinstance(value, str) and "\0" in value:
                raise NotAStore(
                    f"{name} cannot hold the zero character in {column.name} of the row "
                    f"{table.key_of(row)} of {table.name}; remove that entry, then go on"
                )


def _tables(connection: Connection) -> dict[str, Table]:
    columns: dict[str, list[Column]] = {}
    keys: dict[str, list[tuple[int, str]]] = {}
    for table, column, kind, place in run(connection, _COLUMNS).fetchall():
        if table in OF_THE_DATABASE:
            continue
        if kind not in _KINDS:
            raise SchemaMismatch(f"the column {column} of {table} has a type of something else")
        columns.setdefault(table, []).append(Column(column, _KINDS[kind]))
        if place is not None:
            keys.setdefault(table, []).append((place, column))
    return {
        name: Table(
            name,
            tuple(sorted(found, key=lambda one: one.name)),
            tuple(column for _, column in sorted(keys.get(name, []))),
        )
        for name, found in columns.items()
    }


def _ephemeral(connection: Connection) -> set[str]:
    """Tables that are emptied with the others."""
    return {row[0] for row in run(connection, _COLUMNS).fetchall()} & _EMPTIED


def _filled(connection: Connection, tables: Mapping[str, Table]) -> str | None:
    """A table with rows in it."""
    for name in sorted(tables):
        if one(connection, f"SELECT EXISTS (SELECT 1 FROM {name})"):  # noqa: S608 - from the schema
            return name
    return None


def _rows(connection: Connection, name: str, table: Table, after: Key | None) -> Iterator[Row]:
    key = ", ".join(table.key)
    place = _ADDED_UP.get(table.name, table.name)
    sql = f"SELECT {', '.join(table.names)} FROM {place}"  # noqa: S608 - from the schema
    values: Sequence[Any] = ()
    if after is not None:
        sql += f" WHERE ({key}) > ({', '.join(['%s'] * len(after))})"
        values = after
    with translated(name):
        yield from _fetched(connection, f"{sql} ORDER BY {key}", values)


def _fetched(connection: Connection, sql: str, values: Sequence[Any] = ()) -> Iterator[Row]:
    """The rows of a query, a few at a time; inside a transaction."""
    run(connection, f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {sql}", values)
    try:
        while found := run(connection, f"FETCH {FETCHED} FROM {_CURSOR}").fetchall():
            yield from found
    finally:
        # It has gone with the transaction if that failed, or with the connection.
        with contextlib.suppress(psycopg.Error):
            run(connection, f"CLOSE {_CURSOR}")


def _last_value(connection: Connection, sequence: str) -> int | None:
    row = run(connection, f"SELECT last_value, is_called FROM {sequence}").fetchone()  # noqa: S608 - from the schema
    return row[0] if row is not None and row[1] else None


def _go_on_behind(connection: Connection, sequence: str, last: int) -> None:
    """Have a sequence give the number behind the last one next."""
    run(connection, "SELECT setval(%s::regclass, %s, %s)", (sequence, max(last, 1), last > 0))
