"""PostgreSQL as either side of a copy."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors

from taskyard.core.errors import StorageFull, StoreDamaged, StoreInUse, TaskyardError
from taskyard.store.postgres.database import LOCK_TIMEOUT_S, PostgresDatabase
from taskyard.store.postgres.errors import ConnectionLost
from taskyard.store.postgres.migrate import UNFINISHED, migrate, migrations
from taskyard.store.sql.queries import queries
from taskyard.store.transfer.address import PROGRAM
from taskyard.store.transfer.errors import (
    Lost,
    NotAllowedThere,
    NotAStore,
    NotEmpty,
    SchemaMismatch,
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

Connection = psycopg.Connection[tuple[Any, ...]]

FETCHED: Final = 500
"""Rows that are fetched at once."""
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
_KINDS: Final = {
    "bigint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "double precision": Kind.REAL,
    "text": Kind.TEXT,
    "bytea": Kind.BYTES,
}
_MIGRATIONS: Final = "schema_migrations"
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
_NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_PAUSE_S: Final = 0.1
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
            _run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def tables(self) -> Mapping[str, Table]:
        """See :class:`Source`."""
        with translated(self.name):
            return _tables(self._connection)

    def count(self, table: Table) -> int:
        """See :class:`Source`."""
        with translated(self.name):
            name = _ADDED_UP.get(table.name, table.name)
            return int(_one(self._connection, f"SELECT count(*) FROM {name}"))  # noqa: S608 - from the schema

    def rows(self, table: Table, after: Key | None = None) -> Iterator[Row]:
        """See :class:`Source`."""
        return _rows(self._connection, self.name, table, after)

    def sequences(self) -> Mapping[str, int]:
        """See :class:`Source`."""
        with translated(self.name):
            found = _run(self._connection, _IDENTITIES).fetchall()
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
            _run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

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
        is_marked = _run(
            connection,
            f"SELECT 1 FROM {_MIGRATIONS} WHERE id = %s",  # noqa: S608 - a constant
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
            _run(connection, f"TRUNCATE {names}")
            _run(connection, "DROP TABLE IF EXISTS transfer")
        _run(connection, _STATE)
        if not is_marked:
            _run(connection, f"INSERT INTO {_MIGRATIONS} (id) VALUES (%s)", (UNFINISHED,))  # noqa: S608 - a constant
        _run(
            connection,
            "INSERT INTO transfer VALUES ('', 0, %s, 0) ON CONFLICT DO NOTHING",
            (origin.encode(),),
        )
        found = bytes(_one(connection, "SELECT last FROM transfer WHERE name = ''")).decode()
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
            found = _run(
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
            _run(
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
            found = _run(connection, _IDENTITIES).fetchall()
            for table, column, sequence in [*found, (_TASKS, "seq", _TASK_SEQ)]:
                highest = _one(connection, f"SELECT max({column}) FROM {table}")  # noqa: S608 - from the schema
                _go_on_behind(connection, sequence, max(sequences.get(table, 0), highest or 0))
            _run(connection, "DROP TABLE transfer")
            _run(connection, f"DELETE FROM {_MIGRATIONS} WHERE id = %s", (UNFINISHED,))  # noqa: S608 - a constant
        migrate(self._database)
        with translated(self.name):
            _run(connection, "ANALYZE")


@contextmanager
def connected(database: PostgresDatabase) -> Iterator[Connection]:
    """A connection in autocommit whose statements may take long. Raises as :func:`translated`."""
    with translated(database.address.shown):
        connection: Connection = database.raw()
    try:
        with translated(database.address.shown):
            # A snapshot is read for hours, and waits while the other side writes.
            _run(connection, "SET statement_timeout = 0")
            _run(connection, "SET idle_in_transaction_session_timeout = 0")
            # Floats lose nothing, whatever the database is set to.
            _run(connection, "SET extra_float_digits = 3")
        yield connection
    finally:
        connection.close()


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
        applied = _applied(connection)
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


def lock_for_copy(connection: Connection, name: str) -> None:
    """Keep other copies away, for as long as the connection is open. Raises ``StoreInUse``."""
    with translated(name):
        try:
            # A moment, as the server notices late that a process has ended.
            _run(connection, f"SET lock_timeout = {round(LOCK_WAIT_S * 1000)}")
            _run(connection, f"SELECT pg_advisory_lock({LOCK})")
            _run(connection, f"SET lock_timeout = {LOCK_TIMEOUT_S * 1000}")
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
        now = _one(connection, _NOW)
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
    planes = _run(
        connection,
        "SELECT name || ' (' || address || ')' FROM planes"
        " WHERE beat_at > %s OR (beat_at > %s AND %s > %s) ORDER BY name",
        (since, since - BEAT_S * 1_000_000, since + BEATS_AGAIN_US, _one(connection, _NOW)),
    ).fetchall()
    programs = _run(
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
        applied = _applied(connection)
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
            f"{name} refuses the user or password; give the password with PGPASSWORD or a "
            "~/.pgpass file"
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


def _applied(connection: Connection) -> set[str]:
    """The ids of the migrations that a database has had; none for a database of something else."""
    if _one(connection, f"SELECT to_regclass('{_MIGRATIONS}')") is None:
        return set()
    return {row[0] for row in _run(connection, f"SELECT id FROM {_MIGRATIONS}").fetchall()}  # noqa: S608 - a constant


def _run(connection: Connection, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Row]:
    return connection.execute(sql, values or None)


def _one(connection: Connection, sql: str) -> Any:
    row = _run(connection, sql).fetchone()
    return None if row is None else row[0]


def _tables(connection: Connection) -> dict[str, Table]:
    columns: dict[str, list[Column]] = {}
    keys: dict[str, list[tuple[int, str]]] = {}
    for table, column, kind, place in _run(connection, _COLUMNS).fetchall():
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
    return {row[0] for row in _run(connection, _COLUMNS).fetchall()} & _EMPTIED


def _filled(connection: Connection, tables: Mapping[str, Table]) -> str | None:
    """A table with rows in it."""
    for name in sorted(tables):
        if _one(connection, f"SELECT EXISTS (SELECT 1 FROM {name})"):  # noqa: S608 - from the schema
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
    _run(connection, f"DECLARE {_CURSOR} NO SCROLL CURSOR FOR {sql}", values)
    try:
        while found := _run(connection, f"FETCH {FETCHED} FROM {_CURSOR}").fetchall():
            yield from found
    finally:
        # It has gone with the transaction if that failed, or with the connection.
        with contextlib.suppress(psycopg.Error):
            _run(connection, f"CLOSE {_CURSOR}")


def _last_value(connection: Connection, sequence: str) -> int | None:
    row = _run(connection, f"SELECT last_value, is_called FROM {sequence}").fetchone()  # noqa: S608 - from the schema
    return row[0] if row is not None and row[1] else None


def _go_on_behind(connection: Connection, sequence: str, last: int) -> None:
    """Have a sequence give the number behind the last one next."""
    _run(connection, "SELECT setval(%s::regclass, %s, %s)", (sequence, max(last, 1), last > 0))
