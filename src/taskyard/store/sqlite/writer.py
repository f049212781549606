"""The one writer: gathers what arrived while the last commit ran, and commits it together.

A single thread owns the only connection that writes, so there is no lock to wait for and every
commit is shared by all who came in meanwhile (group commit). The caller's future is resolved
after the commit only: what was acknowledged is on disk.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.store.sqlite.commits import (
    BATCH_LIMIT,
    Entry,
    Gatherer,
    Item,
    Operation,
    Outcome,
    commit,
)
from taskyard.store.sqlite.room import Room

log = structlog.get_logger(__name__)

T = TypeVar("T")
Future = asyncio.Future[Any]

QUEUE_LIMIT: Final = 20_000
"""Operations waiting at most; past it submits are refused with a time to come back."""


class Pace:
    """How fast operations are committed while there are any, as lately measured.

    Args:
        on_commit: told the size of each shared commit and the seconds it took. What it raises is
            logged: a commit that is done must not fail for those who watch.
    """

    def __init__(self, on_commit: Callable[[int, float], None]) -> None:
        self._on_commit = on_commit
        self._rate = 1000.0
        """Operations a second."""

    def note(self, size: int, seconds: float) -> None:
        """A commit of so many took so long."""
        self._rate += 0.1 * (size / max(seconds, 1e-6) - self._rate)
        try:
            self._on_commit(size, seconds)
        except Exception:
            log.exception("commit_observer_failed")

    def wait_s(self, waiting: int) -> float:
        """Seconds until so many are committed."""
        return waiting / self._rate


class Writer:
    """Runs operations in shared transactions on a thread of its own."""

    def __init__(
        self,
        open_connection: Callable[[], sqlite3.Connection],
        on_commit: Callable[[int, float], None] = lambda _size, _seconds: None,
        before_commit: Callable[[sqlite3.Connection], None] = lambda _connection: None,
        after_rollback: Callable[[], None] = lambda: None,
        room: Callable[[], Room | None] = lambda: None,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            open_connection: makes the connection; called on the writer's thread.
            on_commit: told the size of each batch and the seconds it took.
            before_commit: a last chance to write in each batch, such as gathered ledger.
            after_rollback: told when a whole batch was undone.
            room: makes what knows of the disk's room; called on the writer's thread.
        """
        self._open_connection = open_connection
        self._before_commit = before_commit
        self._after_rollback = after_rollback
        self._make_room = room
        self._room: Room | None = None
        self._queue: SimpleQueue[Entry[Future] | None] = SimpleQueue()
        self._closing = False
        self._pace = Pace(on_commit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="taskyard-writer", daemon=True)
        self._failure: BaseException | None = None
        self._opened = threading.Event()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the connection and begin to write. Raises what opening it raised."""
        self._loop = loop
        self._thread.start()
        self._opened.wait()
        if self._failure is not None:
            raise self._failure

    async def run(self, operation: Operation[T], *, atomic: bool = True, urgent: bool = False) -> T:
        """Run one operation, and return its result once it is committed.

        Args:
            operation: gets the connection, inside a transaction; must not commit.
            atomic: give it a savepoint of its own. Only an operation that raises nothing after
                its first write may do without.
            urgent: store it also when the disk is full, as it makes room.

        Raises:
            TaskyardError: whatever the operation raised.
            Overloaded: too many operations are waiting.
            StorageFull: the disk is full; nothing was stored.
            Unavailable: the store is closed, or failed.
        """
        future: asyncio.Future[T] = self._future()
        self._queue.put(Entry(future, operation, atomic=atomic, urgent=urgent))
        return await future

    async def gather(self, gatherer: Gatherer[Item, T], item: Item) -> T:
        """Have an item done together with all others for the same gatherer in its batch.

        Args:
            gatherer: does them; always the same object for the same kind of item.
            item: what it gets, in order of arrival.

        Raises:
            as :meth:`run`.
        """
        future: asyncio.Future[T] = self._future()
        self._queue.put(Entry(future, None, gatherer=gatherer, item=item))
        return await future

    def _future(self) -> Future:
        if self._closing or self._loop is None:
            raise Unavailable("the store is closed")
        waiting = self._queue.qsize()
        if waiting >= QUEUE_LIMIT:
            raise Overloaded("too many writes are waiting", self._pace.wait_s(waiting))
        return self._loop.create_future()

    async def close(self) -> None:
        """Commit what is waiting, then close. May be called twice."""
        self._closing = True
        self._queue.put(None)
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _main(self) -> None:
        try:
            connection = self._open_connection()
            self._room = self._make_room()
        except BaseException as error:  # noqa: BLE001 - handed to whoever called start()
            self._failure = error
            return
        finally:
            self._opened.set()
        try:
            while batch := self._take():
                self._commit(connection, batch)
        finally:
            connection.close()

    def _take(self) -> list[Entry[Future]]:
        """Wait for something, then take all there is up to the limit; empty once closed."""
        batch: list[Entry[Future]] = []
        entry = self._queue.get()
        try:
            while entry is not None:
                batch.append(entry)
                if len(batch) == BATCH_LIMIT:
                    return batch
                entry = self._queue.get_nowait()
        except Empty:
            return batch
        if batch:
            # What arrived before the end is still done; the end is met again after it.
            self._queue.put(None)
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: list[Entry[Future]]) -> None:
        began = time.perf_counter()
        results = commit(connection, batch, self._before_commit, self._after_rollback, self._room)
        self._pace.note(len(batch), time.perf_counter() - began)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, results)


def _resolve(results: list[Outcome[Future]]) -> None:
    for future, result, error in results:
        tell(future, result, error)


def tell(future: Future, result: object, error: BaseException | None) -> None:
    """Let whoever waits go on, unless nobody does any more."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
