"""Shared transactions (group commit), and the session through which repositories use them.

1. An operation is a function of the connection. It either returns, or raises one of the project's
   errors: then nothing of it is left, and the others in its batch go on. At first none has a
   savepoint, as hardly any fails after it has written something: if one does, the batch is undone,
   and done again carefully: each in a savepoint, and believing nothing that is remembered.
2. Operations of one kind that arrive in numbers can be gathered: one call does all of them that
   are in a batch.
3. A commit that fails rolls back the whole batch and fails everybody in it.
4. Counts and histories are collected over the batch, and written once before its commit.
"""

from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

from taskyard.core.errors import InvalidInput, StorageFull, TaskyardError, Unavailable
from taskyard.store.sql.batch_counts import BatchCounts
from taskyard.store.sql.connection import Connection, DiskSpace, NotAsRemembered

T = TypeVar("T")
P = ParamSpec("P")
Item = TypeVar("Item")
Call = TypeVar("Call")
Operation = Callable[[Connection], T]
Gatherer = Callable[[Connection, Sequence[Item]], Sequence[T | TaskyardError]]
"""Does many items at once, and answers for each with its result or with its own failure. It may
raise nothing after its first write."""

BATCH_LIMIT: Final = 512
"""Operations in one transaction at most, so that a commit never takes long."""
TRIES: Final = 4
"""How often a batch is done that fails because others write the same rows; then it has failed."""


def unstorable() -> InvalidInput:
    """What to raise instead of ``UnicodeEncodeError`` or ``OverflowError``: no column holds it."""
    return InvalidInput("", "contains text or numbers that cannot be stored")


class QueueEntry(Generic[Call]):
    """One thing to be done in the next transaction."""

    __slots__ = ("call", "gatherer", "item", "operation", "urgent")

    def __init__(
        self,
        call: Call,
        operation: Operation[Any] | None,
        *,
        urgent: bool = False,
        gatherer: Gatherer[Any, Any] | None = None,
        item: object = None,
    ) -> None:
        self.call = call
        """Who waits for the outcome."""
        self.operation = operation
        self.urgent = urgent
        """Whether it frees space, or records an end: stored also when the disk is full."""
        self.gatherer = gatherer
        self.item = item


Outcome = tuple[Call, Any, BaseException | None]


def commit(
    connection: Connection,
    batch: Sequence[QueueEntry[Call]],
    before_commit: Callable[[Connection], None],
    after_rollback: Callable[[], None],
    room: DiskSpace | None = None,
) -> list[Outcome[Call]]:
    """Do a batch in one transaction; an outcome for each entry in it. Raises nothing.

    While the disk is full only what is urgent is done, with the room that was kept for it.

    Args:
        connection: the one that writes; in no transaction.
        batch: done in order.
        before_commit: a last chance to write, such as what the operations gathered.
        after_rollback: called when the whole batch was rolled back.
        room: of the disk; without it, nothing is kept for what is urgent.
    """
    if room is None:
        return _commit(connection, batch, before_commit, after_rollback)
    outcomes: list[Outcome[Call]] = []
    if room.is_short():
        outcomes, batch = _refused(batch), [entry for entry in batch if entry.urgent]
    done = _commit(connection, batch, before_commit, after_rollback) if batch else []
    urgent = [entry for entry in batch if entry.urgent]
    if urgent and done and isinstance(done[0][2], StorageFull) and room.give_up():
        outcomes += _refused(batch)
        done = _commit(connection, urgent, before_commit, after_rollback)
    room.tidy(len(batch))
    return [*outcomes, *done]


def _refused(batch: Sequence[QueueEntry[Call]]) -> list[Outcome[Call]]:
    """What is not urgent is not stored."""
    text = "the disk is full; nothing was stored. Kills and deletes are, and make room"
    return [(entry.call, None, StorageFull(text)) for entry in batch if not entry.urgent]


def _commit(
    connection: Connection,
    batch: Sequence[QueueEntry[Call]],
    before_commit: Callable[[Connection], None],
    after_rollback: Callable[[], None],
) -> list[Outcome[Call]]:
    for tries_left in reversed(range(TRIES)):
        try:
            connection.begin()
            results = _run_all(connection, batch, is_careful=tries_left < TRIES - 1)
            before_commit(connection)
            connection.commit()
        except BaseException as error:  # noqa: BLE001 - everyone in the batch gets it
            connection.rollback()
            after_rollback()
            if tries_left and isinstance(error, NotAsRemembered):
                continue
            failure = error if isinstance(error, TaskyardError) else Unavailable(repr(error))
            if isinstance(error, connection.failures):
                if tries_left and connection.is_conflict(error):
                    continue
                failure = connection.trouble(error)
            break
        else:
            return results
    return [(entry.call, None, failure) for entry in batch]


def _run_all(
    connection: Connection, batch: Sequence[QueueEntry[Call]], *, is_careful: bool
) -> list[Outcome[Call]]:
    """Run a batch in order; gathered items at the place of the first of their kind."""
    results: list[Outcome[Call]] = []
    gathered: set[Gatherer[Any, Any]] = set()
    for entry in batch:
        if entry.operation is not None:
            run = _attempt if is_careful else _try
            outcome = run(connection, entry.operation)
            results.append((entry.call, *outcome))
        elif entry.gatherer is not None and entry.gatherer not in gathered:
            gathered.add(entry.gatherer)
            alike = [one for one in batch if one.gatherer == entry.gatherer]
            answers = entry.gatherer(connection, [one.item for one in alike])
            for one, answer in zip(alike, answers, strict=True):
                failed = isinstance(answer, TaskyardError)
                results.append((one.call, None, answer) if failed else (one.call, answer, None))
    return results


def _try(connection: Connection, operation: Operation[Any]) -> tuple[Any, BaseException | None]:
    """Run one operation without a savepoint, which few need.

    One that fails before it has written anything is an outcome; with any other the batch is done
    again, in which each has its savepoint.
    """
    before = connection.total_changes
    try:
        return operation(connection), None
    except NotAsRemembered:
        raise
    except connection.failures:
        raise
    except Exception as error:
        if connection.total_changes != before:
            raise NotAsRemembered from error
        return None, error


def _attempt(connection: Connection, operation: Operation[Any]) -> tuple[Any, BaseException | None]:
    """Run one operation; its own failure is an outcome, the driver's failure is everybody's."""
    connection.savepoint("operation")
    try:
        result = operation(connection)
    except NotAsRemembered:
        raise
    except connection.failures:
        raise
    except Exception as error:  # noqa: BLE001 - handed to the one who asked
        connection.undo("operation")
        return None, error
    connection.release("operation")
    return result, None


class CommitQueue:
    """What a method awaits to have something done in the next shared transaction.

    The coroutine of a method is driven by hand (``writer/server.py``): awaiting these yields the
    entry to whoever drives it, and it goes on with the outcome after the commit.
    """

    async def run(self, operation: Operation[T], *, urgent: bool = False) -> T:
        """Run one operation, and return its result once it is committed.

        Args:
            operation: gets the connection, inside a transaction; must not commit.
            urgent: store it also when the disk is full, as it makes room.

        Raises:
            TaskyardError: whatever the operation raised.
            StorageFull: the disk is full; nothing was stored.
            Unavailable: the store failed.
        """
        result: T = await _Pending(QueueEntry(None, operation, urgent=urgent))
        return result

    async def gather(self, gatherer: Gatherer[Item, T], item: Item) -> T:
        """Have an item done together with all others for the same gatherer in its batch.

        Args:
            gatherer: does them; always the same object for the same kind of item.
            item: what it gets, in order of arrival.

        Raises:
            as :meth:`run`.
        """
        result: T = await _Pending(QueueEntry(None, None, gatherer=gatherer, item=item))
        return result


class _Pending:
    """Awaiting it yields the entry, and is answered with the outcome."""

    def __init__(self, entry: QueueEntry[Any]) -> None:
        self._entry = entry

    def __await__(self) -> Generator[QueueEntry[Any], Any, Any]:
        return (yield self._entry)


class Reading(Protocol):
    """Has operations done that only read."""

    async def run(self, operation: Operation[T]) -> T:
        """See ``readers.Readers``."""


class RemoteWriter(Protocol):
    """Calls methods that write where the writer is."""

    async def call(
        self, repository: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a repository's method answers there.

        Raises what it raised, ``Overloaded`` and ``Unavailable``.
        """


class Session:
    """How repositories write and read.

    Args:
        readers: read for those who call the store; what the store server does itself reads in
            its transactions.
        remote: writes for those who call the store; None in the store server.
        keeps_changes: whether what is announced is written for other control planes.
        is_shared: whether other processes may write to the same database.
    """

    def __init__(
        self,
        readers: Reading | None = None,
        remote: RemoteWriter | None = None,
        *,
        keeps_changes: bool = False,
        is_shared: bool = False,
    ) -> None:
        self.is_shared = is_shared
        self.queue = CommitQueue()
        self.readers: Reading = readers or self.queue
        self.counts = BatchCounts(keeps_changes=keeps_changes)
        self.remote = remote

    async def write(self, operation: Operation[T], *, urgent: bool = False) -> T:
        """Run an operation of its own; when it raises, nothing of it is left."""

        def undoing(connection: Connection) -> T:
            before = self.counts.savepoint()
            try:
                return operation(connection)
            except BaseException:
                self.counts.restore(before)
                raise

        return await self.queue.run(undoing, urgent=urgent)

    async def write_urgently(self, operation: Operation[T]) -> T:
        """As :meth:`write`, also when the disk is full: it frees space, or records an end."""
        return await self.write(operation, urgent=True)

    async def gather(self, gatherer: Gatherer[Item, T], item: Item) -> T:
        """Have an item done together with all others for the same gatherer in its batch."""
        return await self.queue.gather(gatherer, item)

    async def read(self, operation: Operation[T]) -> T:
        """Run a reading operation on a snapshot of what is committed."""
        return await self.readers.run(operation)


class Repository:
    """A group of the store's methods. Those that write are marked with :func:`writes`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def remote(self) -> RemoteWriter | None:
        """Where the methods that write are called; None where they are done."""
        return self._session.remote


RepositoryT = TypeVar("RepositoryT", bound=Repository)


def writes(
    method: Callable[Concatenate[RepositoryT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[RepositoryT, P], Coroutine[Any, Any, T]]:
    """A method that writes is done where the writer is.

    What it is given and what it answers may travel between processes.
    """

    @wraps(method)
    async def called(repository: RepositoryT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        remote = repository.remote
        if remote is None:
            return await method(repository, *args, **kwargs)
        name = type(repository).__name__
        answer: T = await remote.call(name, method.__name__, args, kwargs)
        return answer

    return called
