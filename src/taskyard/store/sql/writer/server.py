"""The store server: does the methods that write, a batch of them in each commit.

1. One connection writes. Its server runs in a process of its own or on a thread
   (:class:`ServerThread`); callers reach it over a socket either way.
2. A message brings one or more calls: a repository, a method, its arguments. Everything that has
   arrived when the server looks, up to ``BATCH_LIMIT`` calls, becomes the next batch.
3. A method is a coroutine, driven by hand. It stops where it awaits the commit queue, and so hands
   over what it wants to write as a queue entry.
4. All entries of a batch run in one transaction (``transactions.commit``). After the commit each
   coroutine goes on with its outcome: it ends, or awaits another entry for the next batch.
5. Only then are answers sent, all of a batch as one message: an acknowledged write is on disk.
"""

import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from taskyard.core.errors import Unavailable
from taskyard.store.sql.connection import Connection, Database
from taskyard.store.sql.repositories import Repositories
from taskyard.store.sql.transactions import BATCH_LIMIT, QueueEntry, Session, commit, unstorable
from taskyard.store.sql.writer.frames import Answer, Answers, Call, Frames, framed

_RECEIVE_BYTES: Final = 1 << 18


class _RunningCall:
    """A method that was called and has not answered yet."""

    __slots__ = ("coroutine", "number")

    def __init__(self, number: int, coroutine: Coroutine[QueueEntry[Any], Any, Any]) -> None:
        self.number = number
        self.coroutine = coroutine


class StoreServer:
    """Serves the calls of one socket. Raises ``StoreDamaged`` and its like.

    Args:
        database: where to write.
        sock: connected to whoever calls.
    """

    def __init__(self, database: Database, sock: socket.socket) -> None:
        self._sock = sock
        self._connection = database.connect()
        self._room = database.disk_space(self._connection)
        session = Session(keeps_changes=self._connection.keeps_changes)
        self._counts = session.counts
        self._repositories = Repositories(session).by_class()
        self._frames = Frames()
        self._hung_up = False
        self._batch: list[QueueEntry[_RunningCall]] = []
        self._answers: list[Answer] = []
        self._announced = False
        """Whether the latest transaction wrote changes for other control planes."""

    def run(self) -> None:
        """Serve until the caller hangs up and what it called for is committed. Blocks."""
        try:
            while not self._hung_up:
                for call in self._calls():
                    self._begin(call)
                while self._batch or self._answers:
                    self._commit()
        finally:
            self._connection.close()

    def _calls(self) -> list[Call]:
        """Wait for a message, then take all that have arrived, up to about the limit."""
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
        number, repository, method, args, kwargs = call
        try:
            coroutine = getattr(self._repositories[repository], method)(*args, **kwargs)
            running = _RunningCall(number, coroutine)
        except (LookupError, AttributeError, TypeError) as error:
            self._answers.append((number, None, error))
        else:
            self._resume(running, running.coroutine.send, None)

    def _commit(self) -> None:
        """Commit a batch, resume everybody in it, and send all answers."""
        batch, self._batch = self._batch[:BATCH_LIMIT], self._batch[BATCH_LIMIT:]
        began = time.perf_counter()
        announced = False
        if batch:
            self._counts.is_careful = False
            outcomes = commit(
                self._connection, batch, self._flush, self._counts.discard, self._room
            )
            announced = self._announced and any(error is None for _, _, error in outcomes)
            for running, result, error in outcomes:
                if error is None:
                    self._resume(running, running.coroutine.send, result)
                else:
                    self._resume(running, running.coroutine.throw, error)
        self._send_answers(len(batch), time.perf_counter() - began, announced=announced)

    def _flush(self, connection: Connection) -> None:
        """Write what the batch gathered, before its commit."""
        self._counts.flush(connection)
        self._announced = self._counts.write_changes(connection)

    def _resume(
        self, running: _RunningCall, step: Callable[[Any], QueueEntry[Any]], value: object
    ) -> None:
        """Drive a method until it wants something written, or has ended."""
        try:
            entry = step(value)
        except StopIteration as stop:
            self._answers.append((running.number, stop.value, None))
        except (UnicodeEncodeError, OverflowError):
            self._answers.append((running.number, None, unstorable()))
        except Exception as error:  # noqa: BLE001 - its caller gets it
            self._answers.append((running.number, None, error))
        else:
            entry.call = running
            self._batch.append(entry)

    def _send_answers(self, size: int, seconds: float, *, announced: bool) -> None:
        answers, self._answers = self._answers, []
        commit: Answers = (answers, size, seconds, announced)
        try:
            message = framed(commit)
        except Exception:  # noqa: BLE001 - whatever it is, the others need their answers
            commit = ([_sendable(answer) for answer in answers], size, seconds, announced)
            message = framed(commit)
        try:
            self._sock.sendall(message)
        except ConnectionError:
            self._hung_up = True


def _sendable(answer: Answer) -> Answer:
    """The answer, or why it could not be sent."""
    try:
        framed(answer)
    except Exception as error:  # noqa: BLE001 - its caller gets it
        return answer[0], None, Unavailable(f"the answer could not be sent: {error!r}")
    return answer


class ServerThread:
    """A store server on a thread of this process; ends like a process does.

    The thread is a daemon: a program that ends without closing its store is not held up.
    """

    pid: Final = None

    def __init__(self, server: StoreServer, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._thread = threading.Thread(target=self._run, name="taskyard-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._sock:
            self._server.run()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end; 0. Raises ``TimeoutError``. Blocks."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError
        return 0
