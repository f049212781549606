"""The one writer: gathers what arrived while the last commit ran, and commits it together.

A single thread owns the only connection that writes, so there is no lock to wait for and every
commit is shared by all who came in meanwhile (group commit). The caller's future is resolved
after the commit only: what was acknowledged is on disk.

An operation is a function of the connection. It either returns, or raises one of the project's
errors: then its own savepoint is rolled back and the others in its batch go on. A commit that
fails rolls back the whole batch and fails everybody in it.
"""

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.store.sqlite.errors import translated

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

BATCH_LIMIT: Final = 512
"""Operations in one transaction at most, so that a commit never takes long."""
QUEUE_LIMIT: Final = 20_000
"""Operations waiting at most; past it submits are refused with a time to come back."""


class Writer:
    """Runs operations in shared transactions on a thread of its own."""

    def __init__(
        self,
        open_connection: Callable[[], sqlite3.Connection],
        on_commit: Callable[[int, float], None] = lambda _size, _seconds: None,
        before_commit: Callable[[sqlite3.Connection], None] = lambda _connection: None,
        after_rollback: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            open_connection: makes the connection; called on the writer's thread.
            on_commit: told the size of each batch and the seconds it took.
            before_commit: a last chance to write in each batch, such as gathered counters.
            after_rollback: told when a whole batch was undone.
        """
        self._open_connection = open_connection
        self._on_commit = on_commit
        self._before_commit = before_commit
        self._after_rollback = after_rollback
        self._queue: deque[tuple[Operation[Any], bool, asyncio.Future[Any]]] = deque()
        self._wake = threading.Semaphore(0)
        self._closing = False
        self._rate = 1000.0
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

    async def run(self, operation: Operation[T], *, atomic: bool = True) -> T:
        """Run one operation, and return its result once it is committed.

        Args:
            operation: gets the connection, inside a transaction; must not commit.
            atomic: give it a savepoint of its own. Only an operation that raises nothing after
                its first write may do without.

        Raises:
            TaskyardError: whatever the operation raised.
            Overloaded: too many operations are waiting.
            StorageFull: the disk is full; nothing was stored.
            Unavailable: the store is closed, or failed.
        """
        if self._closing or self._loop is None:
            raise Unavailable("the store is closed")
        if len(self._queue) >= QUEUE_LIMIT:
            raise Overloaded("too many writes are waiting", len(self._queue) / self._rate)
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.append((operation, atomic, future))
        self._wake.release()
        return await future

    @property
    def waiting(self) -> int:
        """Operations that wait for their transaction."""
        return len(self._queue)

    @property
    def rate(self) -> float:
        """Operations committed each second while there was work, as lately measured."""
        return self._rate

    async def close(self) -> None:
        """Commit what is waiting, then close. May be called twice."""
        self._closing = True
        self._wake.release()
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _main(self) -> None:
        try:
            connection = self._open_connection()
        except BaseException as error:  # noqa: BLE001 - handed to whoever called start()
            self._failure = error
            return
        finally:
            self._opened.set()
        try:
            while True:
                self._wake.acquire()
                batch = self._take()
                if batch:
                    self._commit(connection, batch)
                elif self._closing:
                    return
        finally:
            connection.close()

    def _take(self) -> list[tuple[Operation[Any], bool, asyncio.Future[Any]]]:
        batch: list[tuple[Operation[Any], bool, asyncio.Future[Any]]] = []
        queue = self._queue
        while queue and len(batch) < BATCH_LIMIT:
            batch.append(queue.popleft())
        # One permit was spent to wake up; the others of this batch are spent here.
        for _ in range(len(batch) - 1):
            self._wake.acquire(blocking=False)
        return batch

    def _commit(
        self,
        connection: sqlite3.Connection,
        batch: list[tuple[Operation[Any], bool, asyncio.Future[Any]]],
    ) -> None:
        began = time.perf_counter()
        results: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            with translated():
                connection.execute("BEGIN IMMEDIATE")
                for operation, atomic, future in batch:
                    results.append((future, *_attempt(connection, operation, atomic)))
                self._before_commit(connection)
                connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - everybody in the batch is told
            if connection.in_transaction:
                connection.rollback()
            self._after_rollback()
            failure = error if isinstance(error, TaskyardError) else Unavailable(repr(error))
            results = [(future, None, failure) for _, _, future in batch]
        took = time.perf_counter() - began
        self._rate += 0.1 * (len(batch) / max(took, 1e-6) - self._rate)
        self._on_commit(len(batch), took)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_resolve, results)


def _attempt(
    connection: sqlite3.Connection, operation: Operation[Any], atomic: bool
) -> tuple[Any, BaseException | None]:
    """Run one operation; its own failure is an outcome, the driver's failure is everybody's."""
    if not atomic:
        before = connection.total_changes
        try:
            return operation(connection), None
        except sqlite3.Error:
            raise
        except Exception as error:
            if connection.total_changes != before:
                raise
            return None, error
    connection.execute("SAVEPOINT operation")
    try:
        result = operation(connection)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        connection.execute("ROLLBACK TO operation")
        connection.execute("RELEASE operation")
        return None, error
    connection.execute("RELEASE operation")
    return result, None


def _resolve(results: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in results:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
