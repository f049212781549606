"""What the tables share: the writer, the readers, and the ledger."""

import sqlite3
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from taskyard.store.sqlite.commits import Gatherer, Item
from taskyard.store.sqlite.ledger import Ledger

T = TypeVar("T")
P = ParamSpec("P")
Operation = Callable[[sqlite3.Connection], T]


class Writing(Protocol):
    """Has operations done in shared transactions."""

    async def run(self, operation: Operation[T], *, atomic: bool = True, urgent: bool = False) -> T:
        """See ``writer.Writer``."""

    async def gather(self, gatherer: Gatherer[Item, T], item: Item) -> T:
        """See ``writer.Writer``."""


class Reading(Protocol):
    """Has operations done that only read."""

    async def run(self, operation: Operation[T]) -> T:
        """See ``readers.Readers``."""


class Elsewhere(Protocol):
    """Where methods that write are called instead: another process, which has the writer."""

    async def call(
        self, part: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a part's method answers there. Raises what it raised, and ``Unavailable``."""


class Session:
    """An open store: how to write to it and how to read from it."""

    def __init__(
        self,
        writer: Writing,
        readers: Reading,
        ledger: Ledger,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.writer = writer
        self.readers = readers
        self.ledger = ledger
        self.elsewhere = elsewhere
        self.last_seq = 0
        """Position of the newest task; the writer alone reads and moves it."""

    async def write(self, operation: Operation[T], *, urgent: bool = False) -> T:
        """Run an operation of its own; when it raises, nothing of it is left."""

        def undoing(connection: sqlite3.Connection) -> T:
            before = self.ledger.mark()
            try:
                return operation(connection)
            except BaseException:
                self.ledger.back_to(before)
                raise

        return await self.writer.run(undoing, urgent=urgent)

    async def write_urgently(self, operation: Operation[T]) -> T:
        """As :meth:`write`, also when the disk is full: it makes room, or says what has ended."""
        return await self.write(operation, urgent=True)

    async def gather(self, gatherer: Gatherer[Item, T], item: Item) -> T:
        """Have an item done together with all others for the same gatherer in its batch."""
        return await self.writer.gather(gatherer, item)

    async def read(self, operation: Operation[T]) -> T:
        """Run a reading operation on a snapshot of what is committed."""
        return await self.readers.run(operation)


class Part:
    """A group of the store's methods. Those that write are marked with :func:`writes`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Where the methods that write are done, if not here."""
        return self._session.elsewhere


PartT = TypeVar("PartT", bound=Part)


def writes(
    method: Callable[Concatenate[PartT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[PartT, P], Coroutine[Any, Any, T]]:
    """A method that writes is done where the writer is.

    What it is given and what it answers may travel between processes.
    """

    @wraps(method)
    async def done(part: PartT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if part.elsewhere is None:
            return await method(part, *args, **kwargs)
        answer: T = await part.elsewhere.call(type(part).__name__, method.__name__, args, kwargs)
        return answer

    return done
