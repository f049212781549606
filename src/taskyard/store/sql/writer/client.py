"""The client of the store server: starts it, calls it, replaces it when it ends."""

import asyncio
import contextlib
import os
import pickle
import socket
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

import structlog

import taskyard
from taskyard.core.backoff import Backoff
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.store.sql.connection import Database
from taskyard.store.sql.writer.frames import Call, Frames, fingerprint, framed
from taskyard.store.sql.writer.server import ServerThread, StoreServer

log = structlog.get_logger(__name__)

QUEUE_LIMIT: Final = 20_000
"""Calls waiting at most; more are refused with a time to come back."""
_STOP_S: Final = 10.0
"""Seconds the server gets to commit what is left."""
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_CHANGED: Final = "the program was replaced while it ran; restart the server"
_LIVED_S: Final = 10.0
"""A server that lived for so long is replaced without a longer pause."""


class Pace:
    """How fast operations are being committed: a moving average.

    Args:
        on_commit: called with the size of each shared commit and the seconds it took. What it
            raises is logged: a commit that is done must not fail because of an observer.
    """

    def __init__(self, on_commit: Callable[[int, float], None]) -> None:
        self._on_commit = on_commit
        self._rate = 1000.0
        """Operations a second."""

    def note(self, size: int, seconds: float) -> None:
        """Note that a commit of ``size`` operations took so long."""
        self._rate += 0.1 * (size / max(seconds, 1e-6) - self._rate)
        try:
            self._on_commit(size, seconds)
        except Exception:
            log.exception("commit_observer_failed")

    def wait_s(self, waiting: int) -> float:
        """Seconds until so many operations are committed."""
        return waiting / self._rate


def _nothing() -> None:
    """Nobody wants to know."""


class WriterClient(asyncio.Protocol):
    """Calls methods of repositories in the store server.

    The calls of one turn of the event loop travel as one message, and so do the answers of one
    commit. A server that ends is replaced; those who waited for its answers get ``Unavailable``,
    as nobody knows whether their writes were stored.

    Args:
        database: where to write.
        on_commit: called with the size of each shared commit and the seconds it took.
        own_process: run the server in a process of its own; on a thread of this one if False.
    """

    def __init__(
        self,
        database: Database,
        on_commit: Callable[[int, float], None],
        *,
        own_process: bool = True,
    ) -> None:
        self._own_process = own_process
        self._database = database
        self._frames = Frames()
        self._number = 0
        self._outgoing: list[Call] = []
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._pace = Pace(on_commit)
        self._closing = asyncio.Event()
        self._lock = -1
        self._started_at = 0.0
        self._program = ""
        self._refused = False
        self._backoff = Backoff(_PAUSE_MIN_S, _PAUSE_MAX_S)
        self._transport: asyncio.Transport | None = None
        self._hung_up = asyncio.Event()
        """Set while there is no connection."""
        self._hung_up.set()
        self.on_announced: Callable[[], None] = _nothing
        """Called after a commit that wrote changes for other control planes. Must not raise."""
        self._server: _Server | None = None
        self._replacing: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that writes; None before there is one, and for a thread."""
        return None if self._server is None else self._server.pid

    async def start(self, lock: int = -1) -> None:
        """Start the server.

        Args:
            lock: a descriptor that holds the right to the store. A process gets it too, so that
                nobody else opens the store before its last commit. -1 if it takes several writers.

        Raises:
            OSError: it cannot be started.
            TaskyardError: a server on a thread cannot open the store.
        """
        self._lock = lock
        if self._own_process:
            loop = asyncio.get_running_loop()
            self._program = await loop.run_in_executor(None, fingerprint)
        await self._launch()

    async def call(
        self, repository: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a repository's method answers there. Raises what it raised.

        Raises:
            Overloaded: too many calls are waiting.
            Unavailable: the store is closed, or the server ended before it answered: then nobody
                knows whether anything was stored.
        """
        if self._closing.is_set():
            raise Unavailable("the store is closed")
        if self._refused:
            raise Unavailable(_CHANGED)
        if len(self._waiting) >= QUEUE_LIMIT:
            raise Overloaded("too many writes are waiting", self._pace.wait_s(len(self._waiting)))
        loop = asyncio.get_running_loop()
        self._number += 1
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting[self._number] = future
        self._outgoing.append((self._number, repository, method, args, kwargs))
        if len(self._outgoing) == 1:
            loop.call_soon(self._send)
        return await future

    def give_up(self, text: str) -> None:
        """Have all who wait told ``Unavailable``, whatever answers still come."""
        for future in self._waiting.values():
            resolve(future, None, Unavailable(text))

    async def close(self) -> None:
        """Have all calls committed, then end the server. May be called twice."""
        self._closing.set()
        if self._replacing is not None:
            # Not cancelled: it may be about to have a server, which then has to be ended.
            await self._replacing
        server, self._server = self._server, None
        if server is not None:
            self._send()
            if self._transport is not None:
                self._transport.write_eof()
            await asyncio.get_running_loop().run_in_executor(None, _end, server)
            # The last answers may still be on their way to us.
            await self._hung_up.wait()
        self._fail(list(self._waiting), "the store is closed")

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A server can be called."""
        # A stream's transport, which asyncio types more widely.
        self._transport = cast("asyncio.Transport", transport)
        self._hung_up.clear()
        self._send()

    def data_received(self, data: bytes) -> None:
        """Commits are done, or parts of their answers arrive."""
        for answers, size, seconds, announced in self._frames.feed(data):
            if announced:
                self.on_announced()
            if size:
                self._pace.note(size, seconds)
            for number, result, error in answers:
                resolve(self._waiting.pop(number), result, error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has ended, or is about to."""
        del exc
        self._transport = None
        self._hung_up.set()
        self._frames = Frames()
        unsent = {call[0] for call in self._outgoing}
        unknown = [number for number in self._waiting if number not in unsent]
        self._fail(unknown, "the store's process ended; whether this was stored is not known")
        if not self._closing.is_set():
            self._replacing = asyncio.get_running_loop().create_task(self._replace())

    def _fail(self, numbers: Sequence[int], text: str) -> None:
        for number in numbers:
            resolve(self._waiting.pop(number), None, Unavailable(text))

    # Sending, starting and replacing

    def _send(self) -> None:
        if self._transport is None or not self._outgoing:
            return
        calls, self._outgoing = self._outgoing, []
        try:
            message = framed(calls)
        except Exception:  # noqa: BLE001 - whatever it is, the others have to travel
            message = b"".join(self._framed_alone(call) for call in calls)
        self._transport.write(message)

    def _framed_alone(self, call: Call) -> bytes:
        """One call as a message; none if it cannot be pickled: its caller gets the error."""
        try:
            return framed([call])
        except Exception as error:  # noqa: BLE001 - its caller gets it
            resolve(self._waiting.pop(call[0]), None, error)
            return b""

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._server = await loop.run_in_executor(None, self._spawn, theirs)
        except BaseException:
            ours.close()
            raise
        self._started_at = time.monotonic()
        await loop.create_connection(lambda: self, sock=ours)

    def _spawn(self, theirs: socket.socket) -> "_Server":
        """Start a server on this end of the connection. Blocks."""
        if not self._own_process:
            # Opened here, so that what is wrong with the store is known at once.
            own = theirs.dup()
            try:
                return ServerThread(StoreServer(self._database, own), own)
            except BaseException:
                own.close()
                raise
        command = [sys.executable, "-P", "-m", "taskyard.store.sql.writer"]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, str(theirs.fileno()), self._program],
            stdin=subprocess.PIPE,
            env={
                "LANG": "C.UTF-8",
                "PATH": os.defpath,
                "PYTHONPATH": str(Path(taskyard.__file__).parent.parent),
                # Recurring tasks fire there: by the time zones that were checked here.
                "PYTHONTZPATH": os.pathsep.join(zoneinfo.TZPATH),
            },
            cwd="/",
            start_new_session=True,
            pass_fds=tuple(one for one in (theirs.fileno(), self._lock) if one >= 0),
        )
        # Not among the arguments, which everybody on the machine can read: it may hold a password.
        with cast("IO[bytes]", process.stdin) as stdin, contextlib.suppress(BrokenPipeError):
            stdin.write(pickle.dumps(self._database))
        return process

    async def _replace(self) -> None:
        """Start another server in place of the one that has ended, unless all is being closed."""
        ended = self._server
        if ended is not None:
            status = await asyncio.get_running_loop().run_in_executor(None, _end, ended)
            log.error("store_process_ended", pid=ended.pid, status=status)
        if time.monotonic() - self._started_at > _LIVED_S:
            self._backoff.reset()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._backoff.delay_s())
            if self._closing.is_set():
                return
            if await self._is_other_program():
                continue
            try:
                await self._launch()
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody else would try again
                log.warning("store_process_not_started", error=repr(error))
            else:
                return

    async def _is_other_program(self) -> bool:
        """Whether a new process would run another release; then all waiting calls fail."""
        if not self._own_process:
            return False
        found = await asyncio.get_running_loop().run_in_executor(None, fingerprint)
        self._refused = found != self._program
        if self._refused:
            log.error("store_process_not_started", error=_CHANGED)
            self._outgoing.clear()
            self._fail(list(self._waiting), _CHANGED)
        return self._refused


class _Server(Protocol):
    """A process, or a thread that looks like one."""

    @property
    def pid(self) -> int | None:
        """Of the process; None for a thread."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit status."""


def _end(server: _Server) -> int:
    """Wait for a server that has been hung up on; kill a process that takes too long. Blocks."""
    if not isinstance(server, subprocess.Popen):
        return server.wait()
    try:
        return server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def resolve(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    """Settle a future, unless its waiter has given up."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
