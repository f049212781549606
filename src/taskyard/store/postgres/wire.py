"""What goes over the wire to PostgreSQL: one connection at a time, few round trips, and its errors.

1. Commands that nobody waits for the answer of are held back, and sent together with the next one.
2. A lost connection fails the transaction it carried. The next one begins on another connection;
   one that cannot be had is not tried again before a pause, so that nobody waits for it.
"""

import contextlib
import select
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import psycopg
import structlog
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from taskyard.core.backoff import Backoff
from taskyard.store.postgres.errors import ConnectionLost, is_stale, trouble
from taskyard.store.postgres.placeholders import Numbered
from taskyard.store.postgres.statements import (
    BINARY,
    Command,
    Question,
    Statement,
    Statements,
)
from taskyard.store.postgres.values import encoder

log = structlog.get_logger(__name__)

_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_GOOD: Final = {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.PIPELINE_SYNC}


class Wire:
    """A connection that is replaced when it was lost. All methods raise ``psycopg.Error``.

    Args:
        connect: makes a connection that is set up, in autocommit. Raises ``psycopg.Error``.
        monotonic: seconds.
    """

    def __init__(
        self, connect: Callable[[], "psycopg.Connection[Any]"], monotonic: Callable[[], float]
    ) -> None:
        self._connect = connect
        self._monotonic = monotonic
        self._backoff = Backoff(_PAUSE_MIN_S, _PAUSE_MAX_S)
        self._not_before = 0.0
        self._failure = ""
        self._raw: psycopg.Connection[Any] | None = None
        self._prepared = 0
        self._stale = False
        self.statements = Statements(self._prepare, self._deallocate)
        self.is_pinned = False
        """Whether a transaction has begun, which must not go on with another connection."""
        self.delayed: list[Command] = []
        """What is sent with the next command."""

    def be_idle(self) -> None:
        """Have a connection that is in no transaction."""
        self.is_pinned = False
        self._discard_damaged()
        if self.connection().pgconn.transaction_status != TransactionStatus.IDLE:
            self.rollback()
        if self._stale:
            self._stale = False
            self.statements.clear()
            self._checked(self.connection().pgconn.exec_(b"DEALLOCATE ALL"))

    def run(self, statement: Statement, values: list[bytes | None]) -> "pq.abc.PGresult":
        """Run a statement, behind what is delayed."""
        if self.delayed:
            (result,) = self.run_all([(statement, values)])
            return result
        return self._checked(
            self.connection().pgconn.exec_prepared(
                statement.key,
                cast("list[bytes]", values),  # typed as if NULL could not be sent
                statement.formats,
                BINARY,
            )
        )

    def run_all(self, sent: Sequence[Command]) -> "list[pq.abc.PGresult]":
        """Send what is delayed and these at once, then wait for all answers."""
        delayed, self.delayed = self.delayed, []
        return self._exchange([*delayed, *sent])[len(delayed) :]

    def run_text(self, command: bytes) -> None:
        """Run a command now, whatever is delayed."""
        result = self.connection().pgconn.exec_(command)
        if result.status != ExecStatus.COMMAND_OK:
            raise self._failed(result)

    def commit(self) -> None:
        """Commit, with what is delayed."""
        pgconn = self.connection().pgconn
        self.is_pinned = False
        delayed, self.delayed = self.delayed, []
        if delayed:
            result = self._exchange([*delayed, b"COMMIT"], is_commit=True)[-1]
        else:
            result = pgconn.exec_(b"COMMIT")
        if result.status != ExecStatus.COMMAND_OK or result.command_status != b"COMMIT":
            raise self._failed(result, sent=True)

    def rollback(self) -> None:
        """Undo the transaction, if there is one. Raises nothing."""
        self.is_pinned = False
        self.delayed.clear()
        self._discard_damaged()
        raw = self._raw
        if raw is None or raw.pgconn.transaction_status == TransactionStatus.IDLE:
            return
        result = raw.pgconn.exec_(b"ROLLBACK")
        if result.status != ExecStatus.COMMAND_OK:
            self.drop()

    def rows(self, result: "pq.abc.PGresult") -> list[tuple[Any, ...]]:
        """The rows of an answer."""
        if not result.ntuples:
            return []
        transformer = Transformer(self.connection())
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def connection(self) -> "psycopg.Connection[Any]":
        """The present connection, or a new one if none is there and no transaction has begun."""
        if self._raw is None:
            if self.is_pinned:
                raise ConnectionLost(self._failure or "there is no connection", retry=True)
            self._raw = self._connected()
        return self._raw

    def drop(self) -> None:
        """Close the connection, if there is one. Raises nothing."""
        raw, self._raw = self._raw, None
        self.delayed.clear()
        self.statements.clear()
        if raw is not None:
            with contextlib.suppress(psycopg.Error):
                raw.close()

    # Statements

    def _prepare(self, query: Numbered) -> Statement:
        """Have a query prepared, and learn the types of its placeholders."""
        pgconn = self.connection().pgconn
        self._prepared += 1
        key = f"q{self._prepared}".encode()
        self._checked(pgconn.prepare(key, query.sql.encode()))
        described = self._checked(pgconn.describe_prepared(key))
        encoders = [encoder(described.param_type(n)) for n in range(described.nparams)]
        return Statement(key, query, encoders)

    def _deallocate(self, key: bytes) -> None:
        self.delayed.append(b"DEALLOCATE " + key)

    # Sending

    def _exchange(
        self, commands: Sequence[Command], *, is_commit: bool = False
    ) -> "list[pq.abc.PGresult]":
        pgconn = self.connection().pgconn
        results: list[pq.abc.PGresult] = []
        try:
            pgconn.enter_pipeline_mode()
            for command in commands:
                _queue(pgconn, command)
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
        for command, result in zip(commands, results, strict=True):
            self._checked(result)
            if isinstance(command, Question):
                command.result = result
        return results

    def _checked(self, result: "pq.abc.PGresult") -> "pq.abc.PGresult":
        if result.status not in _GOOD:
            raise self._failed(result)
        return result

    # Trouble

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
        self.statements.clear()
        self._stale = False
        return raw

    def _failed(self, result: "pq.abc.PGresult | None", *, sent: bool = False) -> psycopg.Error:
        """The error that a result is, or that of a connection that was lost."""
        raw = self._raw
        if raw is None or raw.pgconn.status == pq.ConnStatus.BAD:
            if raw is None:
                return ConnectionLost(self._failure, sent=sent, retry=True)
            said = raw.pgconn.get_error_message() or "the connection was closed"
            self.drop()
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
        self.drop()
        self._failure = str(error)
        return ConnectionLost(str(error), sent=sent, retry=True)

    def _discard_damaged(self) -> None:
        if self._raw is not None and self._raw.pgconn.status == pq.ConnStatus.BAD:
            self.drop()


def _queue(pgconn: "pq.abc.PGconn", command: Command) -> None:
    """Have a command sent with all that are sent next."""
    if isinstance(command, bytes):
        pgconn.send_query_params(command, None)
        return
    if isinstance(command, Question):
        command = command.statement, command.values
    statement, values = command
    pgconn.send_query_prepared(statement.key, values, statement.formats, BINARY)


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
