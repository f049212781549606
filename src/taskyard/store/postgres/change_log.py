"""The change log in PostgreSQL: a table that every commit adds a row to.

Identities become visible out of order: a transaction may take position 5 and commit after another
has taken and committed position 6. Reading "behind 6" would never find 5; waiting until nothing
older runs would have one long transaction of anybody on the server stop everybody. So a reader's
position is the snapshot it last read with. What it has not seen are the rows of transactions that
snapshot calls running, or that began since: an index finds both, and each row is found once.

Positions are taken at the very end of a transaction, when it waits for no rows any more. So a
commit that builds on another has a higher one, and no snapshot shows it without the other.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

import msgspec

from taskyard.core.changes import Committed
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import SECOND, Instant
from taskyard.core.states import TaskState
from taskyard.ports.changes import (
    KEPT_S,
    Counts,
    LoggedCommit,
    LogPage,
    LogPosition,
    LogPruned,
)
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.silence import Silence

T = TypeVar("T")

_decode: Final = msgspec.json.Decoder(Committed).decode


class _Place(NamedTuple):
    """A position, taken apart."""

    at: int
    """When everything before was read, by the clock of the database."""
    seen: str
    """The snapshot with which it was."""
    target: str
    """While what one snapshot shows is read in several pages: that one."""
    number: int
    """The position of the last row of those pages."""

    @property
    def ceiling(self) -> str:
        """Transactions from here on had not begun."""
        return self.seen.split(":")[1]

    @property
    def running(self) -> str:
        """Those that ran."""
        return self.seen.split(":")[2]


class PostgresChangeLog:
    """Implements ``ports.changes.ChangeLog``, on a thread and a connection of its own.

    So nobody's long list is waited for before everybody hears of a change.

    Args:
        database: where it is.
        silence: learns from what is asked here whether the database answers.
    """

    def __init__(self, database: PostgresDatabase, silence: Silence | None = None) -> None:
        self._database = database
        self._silence = silence or Silence()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="taskyard-changes")
        self._reading: PostgresConnection | None = None
        self._writing: PostgresConnection | None = None

    async def last(self) -> tuple[LogPosition, Counts]:
        """See the port."""

        def read(connection: PostgresConnection) -> tuple[LogPosition, Counts]:
            snapshot, at = connection.execute("changes.snapshot").fetchone()
            rows = connection.execute("dispatch.all_counts").fetchall()
            counts = {(WorkspaceName(w), TaskState(state)): total for w, state, total in rows}
            return _position(_Place(at, snapshot, "", 0)), counts

        return await self._read(read)

    async def after(self, position: LogPosition, limit: int) -> LogPage:
        """See the port."""
        place = _place(position)
        values = {
            "ceiling": place.ceiling,
            "running": place.running,
            "target": place.target or None,
            "position": place.number,
            "limit": limit,
        }

        def read(connection: PostgresConnection) -> tuple[str, int, list[LoggedCommit]]:
            rows = connection.execute_alone("changes.after", values).fetchall()
            snapshot, now, first, *_ = rows[0]
            found = [] if first is None else rows
            commits = [LoggedCommit(row[2], Instant(row[3]), _read_data(row[4])) for row in found]
            return snapshot, now, commits

        snapshot, now, commits = await self._read(read, alone=True)
        if now - place.at > KEPT_S * SECOND:
            raise LogPruned
        target = place.target or snapshot
        if len(commits) == limit:
            behind = place._replace(target=target, number=commits[-1].number)
            return LogPage(commits, _position(behind), is_full=True)
        # What became visible since the target was taken is found by the next read.
        at = place.at if place.target else now
        return LogPage(commits, _position(_Place(at, target, "", 0)), is_full=bool(place.target))

    async def prune(self, limit: int) -> int:
        """See the port."""
        values = {"kept_us": round(2 * KEPT_S * SECOND), "limit": limit}
        return await self._write(lambda c: c.execute("changes.prune", values).rowcount)

    async def close(self) -> None:
        """Close its connections. May be called twice."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        for connection in (self._reading, self._writing):
            if connection is not None:
                connection.close()
        self._reading = self._writing = None

    async def _read(
        self, operation: Callable[[PostgresConnection], T], *, alone: bool = False
    ) -> T:
        run_on = _alone if alone else _in_transaction

        def run() -> T:
            reading, self._reading = self._reading, None
            if reading is None:
                reading = self._database.connect_reading()
                # A table that nobody has analyzed yet would be read from its beginning each time.
                _in_transaction(reading, _use_indexes)
            try:
                result = run_on(reading, operation)
            except BaseException:
                reading.close()
                raise
            self._reading = reading
            return result

        return await self._silence.asked(self._thread.submit(run))

    async def _write(self, operation: Callable[[PostgresConnection], T]) -> T:
        def run() -> T:
            if self._writing is None:
                self._writing = self._database.connect()
            return _in_transaction(self._writing, operation)

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)


def _use_indexes(connection: PostgresConnection) -> None:
    """Have indexes used in this session, whatever they seem to cost."""
    connection.execute("changes.use_indexes")


def _in_transaction(
    connection: PostgresConnection, operation: Callable[[PostgresConnection], T]
) -> T:
    try:
        connection.begin()
        result = operation(connection)
        connection.commit()
    except connection.failures as error:
        connection.rollback()
        raise connection.trouble(error) from error
    return result


def _alone(connection: PostgresConnection, operation: Callable[[PostgresConnection], T]) -> T:
    """For one query, which needs no transaction around it to see one snapshot."""
    try:
        return operation(connection)
    except connection.failures as error:
        raise connection.trouble(error) from error


def _read_data(data: bytes) -> Committed | None:
    try:
        return _decode(data)
    except msgspec.DecodeError:
        return None


def _position(place: _Place) -> LogPosition:
    return LogPosition(f"{place.at}/{place.seen}/{place.target}/{place.number}")


def _place(position: LogPosition) -> _Place:
    at, seen, target, number = position.split("/")
    return _Place(int(at), seen, target, int(number))
