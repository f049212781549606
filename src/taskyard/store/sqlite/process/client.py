"""The side of the process that serves: starts the one that writes, calls it, replaces it."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import structlog

import taskyard
from taskyard.core.backoff import Backoff
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.store.sqlite.process.frames import Call, Frames, framed
from taskyard.store.sqlite.process.program import fingerprint
from taskyard.store.sqlite.writer import QUEUE_LIMIT, Pace, tell

log = structlog.get_logger(__name__)

_STOP_S: Final = 10.0
"""Seconds the process gets to commit what is left."""
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0
_CHANGED: Final = "the program was replaced while it ran; restart the server"
_LIVED_S: Final = 10.0
"""A process that lived for so long is replaced without a longer pause."""


class StoreProcess(asyncio.Protocol):
    """Calls methods of the store's parts where the writer is.

    What is called during one turn of the event loop travels as one message, and so does what one
    commit answers. A process that ends is replaced; whoever waited for its answers is told that
    nobody knows.

    Args:
        path: the database file.
        on_commit: told the size of each shared commit and the seconds it took.
        reserve_bytes: kept of the disk for what makes room.
    """

    def __init__(
        self, path: Path, on_commit: Callable[[int, float], None], reserve_bytes: int = 0
    ) -> None:
        self._reserve_bytes = reserve_bytes
        self._path = path
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
        """Set while there is nobody to talk to."""
        self._hung_up.set()
        self._process: subprocess.Popen[bytes] | None = None
        self._replacing: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process that writes; None before there is one."""
        return None if self._process is None else self._process.pid

    async def start(self, lock: int) -> None:
        """Start the process.

        Args:
            lock: a descriptor that holds the right to the directory. The process gets it too, so
                that nobody else opens the store before its last commit.

        Raises:
            OSError: it cannot be started.
        """
        self._lock = lock
        loop = asyncio.get_running_loop()
        self._program = await loop.run_in_executor(None, fingerprint)
        await self._launch()

    async def call(
        self, part: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a part's method answers there.

        Raises:
            Overloaded: too many calls are waiting.
            Unavailable: the store is closed, or the process ended before it answered: then nobody
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
        self._outgoing.append((self._number, part, method, args, kwargs))
        if len(self._outgoing) == 1:
            loop.call_soon(self._send)
        return await future

    async def close(self) -> None:
        """Have everything committed that was called for, then end the process. May be repeated."""
        self._closing.set()
        if self._replacing is not None:
            # Not cancelled: it may be about to have a process, which then has to be ended.
            await self._replacing
        process, self._process = self._process, None
        if process is not None:
            self._send()
            if self._transport is not None:
                self._transport.write_eof()
            await asyncio.get_running_loop().run_in_executor(None, _end, process)
            # The last answers may still be on their way to us.
            await self._hung_up.wait()
        self._fail(list(self._waiting), "the store is closed")

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a process to talk to."""
        # A stream's transport, which asyncio types more widely.
        self._transport = cast("asyncio.Transport", transport)
        self._hung_up.clear()
        self._send()

    def data_received(self, data: bytes) -> None:
        """Commits are done, or parts of their answers arrive."""
        for answers, size, seconds in self._frames.feed(data):
            if size:
                self._pace.note(size, seconds)
            for number, result, error in answers:
                tell(self._waiting.pop(number), result, error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended, or is about to."""
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
            tell(self._waiting.pop(number), None, Unavailable(text))

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
        """One call as a message; none if it cannot travel, which its caller is told."""
        try:
            return framed([call])
        except Exception as error:  # noqa: BLE001 - told to its caller
            tell(self._waiting.pop(call[0]), None, error)
            return b""

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await loop.run_in_executor(None, self._spawn, theirs)
        except BaseException:
            ours.close()
            raise
        self._started_at = time.monotonic()
        await loop.create_connection(lambda: self, sock=ours)

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "taskyard.store.sqlite.process"]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                *command,
                str(self._path),
                str(theirs.fileno()),
                str(self._reserve_bytes),
                self._program,
            ],
            stdin=subprocess.DEVNULL,
            env={
                "LANG": "C.UTF-8",
                "PATH": os.defpath,
                "PYTHONPATH": str(Path(taskyard.__file__).parent.parent),
                # Recurring tasks fire there: by the time zones that were checked here.
                "PYTHONTZPATH": os.pathsep.join(zoneinfo.TZPATH),
            },
            cwd="/",
            start_new_session=True,
            pass_fds=(theirs.fileno(), self._lock),
        )

    async def _replace(self) -> None:
        """Start another process in place of the one that has ended, unless all is being closed."""
        ended = self._process
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
        """Whether a new process would be of another program; then whoever waits is told."""
        found = await asyncio.get_running_loop().run_in_executor(None, fingerprint)
        self._refused = found != self._program
        if self._refused:
            log.error("store_process_not_started", error=_CHANGED)
            self._outgoing.clear()
            self._fail(list(self._waiting), _CHANGED)
        return self._refused


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process that has been hung up on; kill it if it takes too long. Blocks."""
    try:
        return process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
