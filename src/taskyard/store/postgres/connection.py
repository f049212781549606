"""The connection to PostgreSQL: named queries as prepared statements, with few round trips.

1. A query is prepared when it is first used; the server says of which types its placeholders are,
   and values are sent as those (``values.py``).
2. A transaction and its savepoints begin late: what begins them is sent together with the next
   statement, and not at all if there is none. So is what nobody waits for the answer of; a failure
   of that is one of the whole transaction.
3. A lost connection fails the transaction it carried. The next one begins on another connection;
   one that cannot be had is not tried again before a pause, so that nobody waits for it.
"""

import contextlib
import select
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import psycopg
import structlog
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from taskyard.core.backoff import Backoff
from taskyard.core.errors import TaskyardError
from taskyard.store.postgres.errors import ConnectionLost, is_conflict, is_stale, trouble
from taskyard.store.postgres.placeholders import Numbered, numbered
from taskyard.store.postgres.values import Encoder, encoder
from taskyard.store.sql.connection import Parameters, Row
from taskyard.store.sql.queries import queries

log = structlog.get_logger(__name__)

DELAYED_MOST: Final = 256
"""Statements that wait to be sent at most."""
SELECTS_KEPT: Final = 64
"""Prepared statements kept of those that have no name."""
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_GOOD: Final = {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.PIPELINE_SYNC}
_BINARY: Final = pq.Format.BINARY
_SQL: Final = queries("taskyard.store.postgres")


class _Statement:
    """A prepared statement of one connection."""

    __slots__ = ("encoders", "formats", "key", "query", "reads", "unnests")

    def __init__(self, key: bytes, query: Numbered, encoders: Sequence[Encoder]) -> None:
        self.key = key
        self.query = query
        self.encoders = encoders
        self.formats = [_BINARY] * len(encoders)
        text = query.sql.lstrip().upper()
        self.reads = text.startswith("SELECT")
        self.unnests = "unnest(" in query.sql

    def encoded(self, values: Sequence[Any]) -> list[bytes | None]:
        """Values as they are sent."""
        return [
            None if value is None else encode(value)
            for encode, value in zip(self.encoders, values, strict=True)
        ]


_Command = bytes | tuple[_Statement, list[bytes | None]]
"""Its text, or a prepared statement with its values."""


class PostgresRows:
    """Implements ``store.sql.connection.Rows``."""

    __slots__ = ("_next", "_rows", "rowcount")

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        self._rows = rows
        self._next = 0
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        """See the protocol."""
        if self._next == len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchall(self) -> list[Any]:
        """See the protocol."""
        begin, self._next = self._next, len(self._rows)
        return self._rows[begin:] if begin else self._rows

    def __iter__(self) -> Iterator[Any]:
        """See the protocol."""
        return iter(self.fetchall())


class PostgresConnection:
    """Implements ``store.sql.connection.Connection``.

    Args:
        connect: makes a connection that is set up, in autocommit. Raises ``psycopg.Error``.
        reads: its transactions see one snapshot each, and cannot write.
        monotonic: seconds.
    """

    failures: Final = (psycopg.Error,)
    rows_at_once: Final = 4096
    keeps_changes: Final = True
    is_shared: Final = True
    holds_nul: Final = False

    def __init__(
        self,
        connect: Callable[[], "psycopg.Connection[Any]"],
        *,
        reads: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._begin = b"BEGIN"
        if reads:
            self._begin = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        self._monotonic = monotonic
        self._backoff = Backoff(_PAUSE_MIN_S, _PAUSE_MAX_S)
        self._not_before = 0.0
        self._failure = ""
        self._raw: psycopg.Connection[Any] | None = None
        self._statements: dict[str, _Statement] = {}
        self._selects: OrderedDict[str, _Statement] = OrderedDict()
        self._prepared = 0
        self._stale = False
        self._is_open = False
        """Whether a transaction has begun, which must not go on with another connection."""
        self._delayed: list[_Command] = []
        """What is sent with the next statement, or with the commit."""
        self._changes = 0
        self._spare: deque[int] = deque()
        """Positions that the present transaction has left."""
        self._given = 0
        """How many it asked for last."""

    @property
    def total_changes(self) -> int:
        """See the protocol."""
        return self._changes

    def trouble(self, error: Exception) -> TaskyardError:
        """See the protocol."""
        return trouble(error)

    def is_conflict(self, error: Exception) -> bool:
        """See the protocol."""
        return is_conflict(error)

    def execute(self, name: str, parameters: Parameters = ()) -> PostgresRows:
        """See the protocol."""
        statement = self._statements.get(name) or self._prepare_named(name)
        values = statement.encoded(statement.query.values(parameters))
        return self._rows(statement, self._run(statement, values))

    def select(self, sql: str, parameters: Parameters = ()) -> PostgresRows:
        """See the protocol."""
        statement = self._selects.get(sql)
        if statement is None:
            statement = self._selects[sql] = self._prepare(numbered(sql))
            if len(self._selects) > SELECTS_KEPT:
                _, oldest = self._selects.popitem(last=False)
                self._delayed.append(b"DEALLOCATE " + oldest.key)
        self._selects.move_to_end(sql)
        values = statement.encoded(statement.query.values(parameters))
        return self._rows(statement, self._run(statement, values))

    def text(self, name: str) -> str:
        """See the protocol."""
        return _SQL[name]

    def write_many(self, name: str, rows: Sequence[Row]) -> int:
        """See the protocol.

        A query over ``unnest`` gets all values of a column as one array; others are sent one by
        one, without waiting for answers in between.
        """
        if not rows:
            return 0
        statement = self._statements.get(name) or self._prepare_named(name)
        if statement.unnests:
            return sum(
                self._written(self._run(statement, statement.encoded(columns)))
                for columns in self._columns(rows)
            )
        sent = [(statement, statement.encoded(row)) for row in rows]
        return sum(self._written(result) for result in self._run_all(sent))

    def execute_each(self, name: str, parameters: Sequence[Parameters]) -> list[list[Any]]:
        """See the protocol. All are sent before any answer is waited for."""
        if not parameters:
            return []
        statement = self._statements.get(name) or self._prepare_named(name)
        query = statement.query
        sent = [(statement, statement.encoded(query.values(one))) for one in parameters]
        return [self._rows(statement, result).fetchall() for result in self._run_all(sent)]

    def execute_later(self, name: str, parameters: Parameters = ()) -> None:
        """See the protocol."""
        statement = self._statements.get(name) or self._prepare_named(name)
        self._delay(statement, statement.encoded(statement.query.values(parameters)))

    def write_later(self, name: str, rows: Sequence[Row]) -> None:
        """See the protocol."""
        if not rows:
            return
        statement = self._statements.get(name) or self._prepare_named(name)
        if statement.unnests:
            sent = [statement.encoded(columns) for columns in self._columns(rows)]
        else:
            sent = [statement.encoded(row) for row in rows]
        for values in sent:
            self._delay(statement, values)

    def execute_alone(self, name: str, parameters: Parameters = ()) -> PostgresRows:
        """Run a query as a transaction of its own: one snapshot, and one round trip.

        Nothing else may be in progress. Raises ``psycopg.Error``.
        """
        self._be_idle()
        return self.execute(name, parameters)

    def positions(self, count: int) -> Iterator[int]:
        """See the protocol. Others may be given some in between.

        A transaction that asks again and again gets more at once each time; what is left over goes
        with it, so that no late task is told to be an early one.
        """
        spare = self._spare
        if len(spare) < count:
            self._given = max(count, 2 * self._given)
            wanted = self._given - len(spare)
            spare.extend(row[0] for row in self.execute("connection.positions", (wanted,)))
        return iter([spare.popleft() for _ in range(count)])

    def begin(self) -> None:
        """See the protocol. Connects if there is no connection."""
        self._be_idle()
        self._is_open = True
        self._delayed = [self._begin]
        self._spare.clear()
        self._given = 0

    def commit(self) -> None:
        """See the protocol."""
        # What makes and releases savepoints is not needed any more.
        delayed = [one for one in self._delayed if not _is_savepoint(one)]
        raw = self._connection()
        self._is_open = False
        if delayed == [self._begin]:
            self._delayed.clear()
            return
        if delayed:
            self._delayed = [*delayed, b"COMMIT"]
            result = self._run_delayed(is_commit=True)
        else:
            self._delayed.clear()
            result = raw.pgconn.exec_(b"COMMIT")
        if result.status != ExecStatus.COMMAND_OK or result.command_status != b"COMMIT":
            raise self._failed(result, sent=True)

    def rollback(self) -> None:
        """See the protocol."""
        self._is_open = False
        self._delayed.clear()
        self._discard_damaged()
        raw = self._raw
        if raw is None or raw.pgconn.transaction_status == TransactionStatus.IDLE:
            return
        result = raw.pgconn.exec_(b"ROLLBACK")
        if result.status != ExecStatus.COMMAND_OK:
            self._drop()

    def savepoint(self, name: str) -> None:
        """See the protocol."""
        self._delayed.append(b"SAVEPOINT " + name.encode())

    def release(self, name: str) -> None:
        """See the protocol."""
        savepoint = b"SAVEPOINT " + name.encode()
        if savepoint in self._delayed:
            # It was not needed: what was delayed since is not undone any more.
            at = _last(self._delayed, savepoint)
            self._delayed[at:] = [one for one in self._delayed[at:] if not _is_savepoint(one)]
        else:
            self._delayed.append(b"RELEASE " + name.encode())

    def undo(self, name: str) -> None:
        """See the protocol."""
        savepoint = b"SAVEPOINT " + name.encode()
        if savepoint in self._delayed:
            del self._delayed[_last(self._delayed, savepoint) :]
            return
        self._delayed.clear()
        result = self._connection().pgconn.exec_(
            b"ROLLBACK TO " + name.encode() + b"; RELEASE " + name.encode()
        )
        if result.status != ExecStatus.COMMAND_OK:
            raise self._failed(result)

    def give_back(self) -> None:
        """See the protocol. PostgreSQL vacuums by itself."""

    def close(self) -> None:
        """See the protocol."""
        self._drop()

    # Statements

    def _prepare_named(self, name: str) -> _Statement:
        statement = self._statements[name] = self._prepare(numbered(_SQL[name]))
        return statement

    def _prepare(self, query: Numbered) -> _Statement:
        """Have a query prepared, and learn the types of its placeholders."""
        pgconn = self._connection().pgconn
        self._prepared += 1
        key = f"q{self._prepared}".encode()
        self._checked(pgconn.prepare(key, query.sql.encode()))
        described = self._checked(pgconn.describe_prepared(key))
        encoders = [encoder(described.param_type(n)) for n in range(described.nparams)]
        return _Statement(key, query, encoders)

    def _be_idle(self) -> None:
        """Have a connection that is in no transaction."""
        self._is_open = False
        self._discard_damaged()
        raw = self._connection()
        if raw.pgconn.transaction_status != TransactionStatus.IDLE:
            self.rollback()
        if self._stale:
            self._forget_statements()

    def _forget_statements(self) -> None:
        """Prepare all again when they are next used."""
        self._stale = False
        self._statements.clear()
        self._selects.clear()
        self._checked(self._connection().pgconn.exec_(b"DEALLOCATE ALL"))

    # Running

    def _run(self, statement: _Statement, values: list[bytes | None]) -> "pq.abc.PGresult":
        if self._delayed:
            (result,) = self._run_all([(statement, values)])
            return result
        return self._checked(
            self._connection().pgconn.exec_prepared(
                statement.key,
                cast("list[bytes]", values),  # typed as if NULL could not be sent
                statement.formats,
                _BINARY,
            )
        )

    def _delay(self, statement: _Statement, values: list[bytes | None]) -> None:
        self._changes += 1
        self._delayed.append((statement, values))
        if len(self._delayed) >= DELAYED_MOST:
            self._run_all([])

    def _columns(self, rows: Sequence[Row]) -> Iterator[list[tuple[Any, ...]]]:
        """The values of each column, for as many rows as one statement takes."""
        for start in range(0, len(rows), self.rows_at_once):
            yield list(zip(*rows[start : start + self.rows_at_once], strict=True))

    def _run_delayed(self, *, is_commit: bool) -> "pq.abc.PGresult":
        """Send what is delayed; answers with the result of the last of it."""
        delayed, self._delayed = self._delayed, []
        return self._exchange(delayed, is_commit=is_commit)[-1]

    def _run_all(self, sent: Sequence[_Command]) -> "list[pq.abc.PGresult]":
        """Send what is delayed and these at once, then wait for all answers."""
        delayed, self._delayed = self._delayed, []
        return self._exchange([*delayed, *sent])[len(delayed) :]

    def _exchange(
        self, commands: Sequence[_Command], *, is_commit: bool = False
    ) -> "list[pq.abc.PGresult]":
        pgconn = self._connection().pgconn
        results: list[pq.abc.PGresult] = []
        try:
            pgconn.enter_pipeline_mode()
            for command in commands:
                if isinstance(command, bytes):
                    pgconn.send_query_params(command, None)
                else:
                    statement, values = command
                    pgconn.send_query_prepared(statement.key, values, statement.formats, _BINARY)
            pgconn.pipeline_sync()
            _send(pgconn)
            while True:
                _wait(pgconn)
                result = pgconn.get_result()
                if result is None:
                    # Behind the answer to each command, and for a connection that has ended.
                    if pgconn.status == pq.ConnStatus.BAD:
                        raise self._failed(None, sent=is_commit)
                    continue
                if result.status == ExecStatus.PIPELINE_SYNC:
                    break
                results.append(result)
            pgconn.exit_pipeline_mode()
        except psycopg.Error as error:
            raise self._lost(error, sent=is_commit) from error
        for result in results:
            self._checked(result)
        return results

    def _rows(self, statement: _Statement, result: "pq.abc.PGresult") -> PostgresRows:
        rows: list[tuple[Any, ...]] = []
        if result.ntuples:
            transformer = Transformer(self._connection())
            transformer.set_pgresult(result)
            rows = transformer.load_rows(0, result.ntuples, tuple)
        count = result.command_tuples or 0
        if not statement.reads:
            self._changes += max(count, 1)
        return PostgresRows(rows, count)

    def _written(self, result: "pq.abc.PGresult") -> int:
        count = result.command_tuples or 0
        self._changes += max(count, 1)
        return count

    def _checked(self, result: "pq.abc.PGresult") -> "pq.abc.PGresult":
        if result.status not in _GOOD:
            raise self._failed(result)
        return result

    # Trouble

    def _connection(self) -> "psycopg.Connection[Any]":
        if self._raw is None:
            if self._is_open:
                raise ConnectionLost(self._failure or "there is no connection", retry=True)
            self._raw = self._connected()
        return self._raw

    def _connected(self) -> "psycopg.Connection[Any]":
        now = self._monotonic()
        if now < self._not_before:
            raise ConnectionLost(self._failure)
        try:
            raw = self._connect()
        except psycopg.Error as error:
            self._failure = str(error)
            self._not_before = self._monotonic() + self._backoff.delay_s()
            log.warning("database_not_reached", reason=str(trouble(error)))
            raise
        self._backoff.reset()
        self._statements.clear()
        self._selects.clear()
        self._stale = False
        return raw

    def _failed(self, result: "pq.abc.PGresult | None", *, sent: bool = False) -> psycopg.Error:
        """The error that a result is, or that of a connection that was lost."""
        raw = self._raw
        if raw is None or raw.pgconn.status == pq.ConnStatus.BAD:
            if raw is None:
                return ConnectionLost(self._failure, sent=sent, retry=True)
            said = raw.pgconn.get_error_message() or "the connection was closed"
            self._drop()
            self._failure = said
            return ConnectionLost(said, sent=sent, retry=True)
        if result is None or result.status == ExecStatus.COMMAND_OK:
            # A commit that turned out to be a rollback: an error before it was passed over.
            return psycopg.InternalError("the transaction had failed before its commit")
        error = error_from_result(result, encoding="utf-8")
        self._stale = self._stale or is_stale(error)
        return error

    def _lost(self, error: psycopg.Error, *, sent: bool = False) -> psycopg.Error:
        """For an error of the driver's own, after which the connection is not used any more."""
        if isinstance(error, ConnectionLost):
            return error
        self._drop()
        self._failure = str(error)
        return ConnectionLost(str(error), sent=sent, retry=True)

    def _discard_damaged(self) -> None:
        if self._raw is not None and self._raw.pgconn.status == pq.ConnStatus.BAD:
            self._drop()

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        self._delayed.clear()
        self._statements.clear()
        self._selects.clear()
        if raw is not None:
            with contextlib.suppress(psycopg.Error):
                raw.close()


def _send(pgconn: "pq.abc.PGconn") -> None:
    """Send all that is to be sent. Lets other threads run meanwhile, unlike the driver's calls."""
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN | select.POLLOUT)
    while pgconn.flush():
        if any(events & select.POLLIN for _, events in poll.poll()):
            pgconn.consume_input()


def _wait(pgconn: "pq.abc.PGconn") -> None:
    """Wait for an answer, as :func:`_send` does: the lock it takes may be another thread's."""
    if not pgconn.is_busy():
        return
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    while pgconn.is_busy():
        poll.poll()
        pgconn.consume_input()


def _is_savepoint(command: _Command) -> bool:
    return isinstance(command, bytes) and command.startswith((b"SAVEPOINT ", b"RELEASE "))


def _last(commands: list[_Command], wanted: bytes) -> int:
    """Where a command is that is there, seen from the end."""
    return len(commands) - 1 - commands[::-1].index(wanted)
