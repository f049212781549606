"""The side of the process that writes: does what it is called for, a batch in each commit."""

import socket
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, Final, TypeVar

from taskyard.core.errors import Unavailable
from taskyard.store.sqlite.commits import BATCH_LIMIT, Entry, Gatherer, Item, Operation, commit
from taskyard.store.sqlite.database import connect
from taskyard.store.sqlite.ledger import Ledger
from taskyard.store.sqlite.parts import Parts, last_seq
from taskyard.store.sqlite.process.frames import Answer, Call, Frames, framed
from taskyard.store.sqlite.room import Reserve, Room
from taskyard.store.sqlite.session import Session

T = TypeVar("T")

_RECEIVE_BYTES: Final = 1 << 18


class Asking:
    """Takes the writer's place: hands each entry to whoever drives the method that wants it done.

    A method is a coroutine. Driven by hand, it stops where it waits for the writer, and goes on
    with the outcome after the commit.
    """

    async def run(self, operation: Operation[T], *, atomic: bool = True, urgent: bool = False) -> T:
        """See ``Writing``."""
        result: T = await _Asked(Entry(None, operation, atomic=atomic, urgent=urgent))
        return result

    async def gather(self, gatherer: Gatherer[Item, T], item: Item) -> T:
        """See ``Writing``."""
        result: T = await _Asked(Entry(None, None, gatherer=gatherer, item=item))
        return result


class _Asked:
    """Awaiting it yields the entry, and is answered with the outcome."""

    def __init__(self, entry: Entry[Any]) -> None:
        self._entry = entry

    def __await__(self) -> Generator[Entry[Any], Any, Any]:
        return (yield self._entry)


class _Doing:
    """A method that was called, on its way."""

    __slots__ = ("coroutine", "number")

    def __init__(self, number: int, coroutine: Coroutine[Entry[Any], Any, Any]) -> None:
        self.number = number
        self.coroutine = coroutine


class Serving:
    """Everything called for over one socket.

    Args:
        path: the database file.
        sock: connected to the process that serves.
        reserve_bytes: see ``Reserve``.
    """

    def __init__(self, path: Path, sock: socket.socket, reserve_bytes: int = 0) -> None:
        self._sock = sock
        self._connection = connect(path)
        self._room = Room(path, Reserve(path.parent, reserve_bytes))
        self._ledger = Ledger()
        asking = Asking()
        session = Session(asking, asking, self._ledger)
        session.last_seq = last_seq(self._connection)
        self._parts = Parts(session).by_class()
        self._frames = Frames()
        self._hung_up = False
        self._batch: list[Entry[_Doing]] = []
        self._answers: list[Answer] = []

    def run(self) -> None:
        """Serve until nobody is there to call, and what was called for is committed."""
        try:
            while not self._hung_up:
                for call in self._calls():
                    self._begin(call)
                while self._batch or self._answers:
                    self._commit()
        finally:
            self._connection.close()

    def _calls(self) -> list[Call]:
        """Wait for something, then take all there is, up to about the limit."""
        calls: list[Call] = []
        flags = 0
        while len(calls) < BATCH_LIMIT:
            try:
                data = self._sock.recv(_RECEIVE_BYTES, flags)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            if not data:
                self._hung_up = True
                break
            for message in self._frames.feed(data):
                calls += message
            if calls:
                flags = socket.MSG_DONTWAIT
        return calls

    def _begin(self, call: Call) -> None:
        number, part, method, args, kwargs = call
        try:
            doing = _Doing(number, getattr(self._parts[part], method)(*args, **kwargs))
        except (LookupError, AttributeError, TypeError) as error:
            self._answers.append((number, None, error))
        else:
            self._go_on(doing, doing.coroutine.send, None)

    def _commit(self) -> None:
        """Do a batch in one transaction, let everybody in it go on, and tell all answers."""
        batch, self._batch = self._batch[:BATCH_LIMIT], self._batch[BATCH_LIMIT:]
        began = time.perf_counter()
        if batch:
            flush, forget = self._ledger.flush, self._ledger.forget
            outcomes = commit(self._connection, batch, flush, forget, self._room)
            for doing, result, error in outcomes:
                if error is None:
                    self._go_on(doing, doing.coroutine.send, result)
                else:
                    self._go_on(doing, doing.coroutine.throw, error)
        self._tell(len(batch), time.perf_counter() - began)

    def _go_on(self, doing: _Doing, step: Callable[[Any], Entry[Any]], value: object) -> None:
        """Drive a method until it wants something done, or is done itself."""
        try:
            entry = step(value)
        except StopIteration as stop:
            self._answers.append((doing.number, stop.value, None))
        except Exception as error:  # noqa: BLE001 - told to the caller
            self._answers.append((doing.number, None, error))
        else:
            entry.who = doing
            self._batch.append(entry)

    def _tell(self, size: int, seconds: float) -> None:
        answers, self._answers = self._answers, []
        try:
            message = framed((answers, size, seconds))
        except Exception:  # noqa: BLE001 - whatever it is, the others have to be told
            answers = [_sendable(answer) for answer in answers]
            message = framed((answers, size, seconds))
        try:
            self._sock.sendall(message)
        except ConnectionError:
            self._hung_up = True


def _sendable(answer: Answer) -> Answer:
    """An answer that can travel, if need be that this one could not."""
    try:
        framed(answer)
    except Exception as error:  # noqa: BLE001 - told to the caller
        return answer[0], None, Unavailable(f"the answer could not be sent: {error!r}")
    return answer
