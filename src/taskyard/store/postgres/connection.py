"""The connection to PostgreSQL: what the store asks of any database, with few round trips.

A transaction and its savepoints begin late: what begins them is sent together with the next
statement, and not at all if there is none. So is what nobody waits for the answer of; a failure of
that is one of the whole transaction. Statements are prepared (``statements.py``), and go over the
wire in pipelines (``wire.py``).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import pq

from taskyard.core.errors import TaskyardError
from taskyard.store.postgres.errors import is_conflict, trouble
from taskyard.store.postgres.statements import SQL, Command, Question, Statement
from taskyard.store.postgres.wire import Wire
from taskyard.store.sql.connection import Parameters, Row

DELAYED_MOST: Final = 256
"""Statements that wait to be sent at most."""


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


class _Answer:
    """Implements ``store.sql.connection.Answer``."""

    __slots__ = ("_question", "_wire")

    def __init__(self, wire: Wire, question: Question) -> None:
        self._wire = wire
        self._question = question

    def fetchone(self) -> Any:
        """See the protocol."""
        if self._question.result is None:
            self._wire.run_all([])
        if self._question.result is None:
            raise RuntimeError("what was asked was undone before it was sent")
        rows = self._wire.rows(self._question.result)
        return rows[0] if rows else None


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

    def __init__(
        self,
        connect: Callable[[], "psycopg.Connection[Any]"],
        *,
        reads: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = Wire(connect, monotonic)
        self._statements = self._wire.statements
        self._begin = b"BEGIN"
        if reads:
            self._begin = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
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

    # Statements

    def execute(self, name: str, parameters: Parameters = ()) -> PostgresRows:
        """See the protocol."""
        return self._execute(self._statements.named(name), parameters)

    def select(self, sql: str, parameters: Parameters = ()) -> PostgresRows:
        """See the protocol."""
        return self._execute(self._statements.select(sql), parameters)

    def text(self, name: str) -> str:
        """See the protocol."""
        return SQL[name]

    def write_many(self, name: str, rows: Sequence[Row]) -> int:
        """See the protocol.

        A query over ``unnest`` gets all values of a column as one array; others are sent one by
        one, without waiting for answers in between.
        """
        if not rows:
            return 0
        statement = self._statements.named(name)
        if statement.unnests:
            return sum(
                self._written(self._wire.run(statement, statement.encoded(columns)))
                for columns in self._columns(rows)
            )
        sent = [(statement, statement.encoded(row)) for row in rows]
        return sum(self._written(result) for result in self._wire.run_all(sent))

    def change_many(self, name: str, rows: Sequence[Row]) -> list[Any]:
        """See the protocol."""
        if not rows:
            return []
        statement = self._statements.named(name)
        sent = self._columns(rows) if statement.unnests else rows
        results = self._wire.run_all([(statement, statement.encoded(one)) for one in sent])
        return [row for result in results for row in self._rows(statement, result).fetchall()]

    def execute_each(self, name: str, parameters: Sequence[Parameters]) -> list[list[Any]]:
        """See the protocol. All are sent before any answer is waited for."""
        if not parameters:
            return []
        statement = self._statements.named(name)
        sent = [(statement, statement.arguments(one)) for one in parameters]
        return [self._rows(statement, result).fetchall() for result in self._wire.run_all(sent)]

    def ask(self, name: str, parameters: Parameters = ()) -> "_Answer":
        """See the protocol."""
        statement = self._statements.named(name)
        question = Question(statement, statement.arguments(parameters))
        self._wire.delayed.append(question)
        return _Answer(self._wire, question)

    def execute_later(self, name: str, parameters: Parameters = ()) -> None:
        """See the protocol."""
        statement = self._statements.named(name)
        self._delay(statement, statement.arguments(parameters))

    def write_later(self, name: str, rows: Sequence[Row]) -> None:
        """See the protocol."""
        if not rows:
            return
        statement = self._statements.named(name)
        sent = self._columns(rows) if statement.unnests else rows
        for values in [statement.encoded(one) for one in sent]:
            self._delay(statement, values)

    def write_surely(self, name: str, rows: Sequence[Row]) -> None:
        """See the protocol. The query has to be one over ``unnest``."""
        statement = self._statements.sure(name)
        for start in range(0, len(rows), self.rows_at_once):
            some = rows[start : start + self.rows_at_once]
            columns = list(zip(*some, strict=True))
            self._delay(statement, statement.encoded([*columns, len(some)]))

    def execute_alone(self, name: str, parameters: Parameters = ()) -> PostgresRows:
        """Run a query as a transaction of its own: one snapshot, and one round trip.

        Nothing else may be in progress. Raises ``psycopg.Error``.
        """
        self._wire.be_idle()
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

    # Transactions

    def begin(self) -> None:
        """See the protocol. Connects if there is no connection."""
        self._wire.be_idle()
        self._wire.is_pinned = True
        self._wire.delayed = [self._begin]
        self._spare.clear()
        self._given = 0

    def commit(self) -> None:
        """See the protocol."""
        # What makes and releases savepoints is not needed any more.
        delayed = [one for one in self._wire.delayed if not _is_savepoint(one)]
        if delayed == [self._begin]:
            self._wire.connection()  # raises if it was lost meanwhile
            self._wire.rollback()
            return
        self._wire.delayed = delayed
        self._wire.commit()

    def rollback(self) -> None:
        """See the protocol."""
        self._wire.rollback()

    def savepoint(self, name: str) -> None:
        """See the protocol."""
        self._wire.delayed.append(b"SAVEPOINT " + name.encode())

    def release(self, name: str) -> None:
        """See the protocol."""
        savepoint = b"SAVEPOINT " + name.encode()
        delayed = self._wire.delayed
        if savepoint in delayed:
            # It was not needed: what was delayed since is not undone any more.
            at = _last(delayed, savepoint)
            delayed[at:] = [one for one in delayed[at:] if not _is_savepoint(one)]
        else:
            delayed.append(b"RELEASE " + name.encode())

    def undo(self, name: str) -> None:
        """See the protocol."""
        savepoint = b"SAVEPOINT " + name.encode()
        delayed = self._wire.delayed
        if savepoint in delayed:
            del delayed[_last(delayed, savepoint) :]
            return
        delayed.clear()
        self._wire.run_text(b"ROLLBACK TO " + name.encode() + b"; RELEASE " + name.encode())

    def give_back(self) -> None:
        """See the protocol. PostgreSQL vacuums by itself."""

    def close(self) -> None:
        """See the protocol."""
        self._wire.drop()

    # Answers

    def _execute(self, statement: Statement, parameters: Parameters) -> PostgresRows:
        return self._rows(statement, self._wire.run(statement, statement.arguments(parameters)))

    def _delay(self, statement: Statement, values: list[bytes | None]) -> None:
        if not statement.reads:
            self._changes += 1
        self._wire.delayed.append((statement, values))
        if len(self._wire.delayed) >= DELAYED_MOST:
            self._wire.run_all([])

    def _columns(self, rows: Sequence[Row]) -> Iterator[list[tuple[Any, ...]]]:
        """The values of each column, for as many rows as one statement takes."""
        for start in range(0, len(rows), self.rows_at_once):
            yield list(zip(*rows[start : start + self.rows_at_once], strict=True))

    def _rows(self, statement: Statement, result: "pq.abc.PGresult") -> PostgresRows:
        rows = self._wire.rows(result)
        count = result.command_tuples or 0
        if not statement.reads:
            self._changes += max(count, 1)
        return PostgresRows(rows, count)

    def _written(self, result: "pq.abc.PGresult") -> int:
        count = result.command_tuples or 0
        self._changes += max(count, 1)
        return count


def _is_savepoint(command: Command) -> bool:
    return isinstance(command, bytes) and command.startswith((b"SAVEPOINT ", b"RELEASE "))


def _last(commands: list[Command], wanted: bytes) -> int:
    """Where a command is that is there, seen from the end."""
    return len(commands) - 1 - commands[::-1].index(wanted)
