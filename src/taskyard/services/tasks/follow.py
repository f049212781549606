"""Following an attempt's output: every byte once, from any offset, to the exit record."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import anyio
from msgspec import Struct

from taskyard.core.access.principals import Caller
from taskyard.core.attempts import Attempt
from taskyard.core.errors import NotFound
from taskyard.core.ids import TaskId
from taskyard.core.states import ENDED_ATTEMPT, TERMINAL, AttemptState, Reason, TaskState
from taskyard.core.tasks import Task
from taskyard.ports.logs import Chunk, LogStore, Stream
from taskyard.ports.store import TaskStore
from taskyard.services.notifications.bus import Bus
from taskyard.services.tasks.logs import Logs, check_offset

CHUNK_BYTES: Final = 64 << 10
PING_S: Final = 15.0


class Output(Chunk, frozen=True):
    """A run of bytes of one stream of the followed attempt."""

    attempt: int
    """Number of the attempt."""


class Ping(Struct, frozen=True):
    """Nothing happened for a while; the follower is still there."""


class Exit(Struct, frozen=True, tag="exit"):
    """How the attempt ended, after its last byte. Encodes as the API's ``exit`` message."""

    attempt: int
    """0 if the task ended without ever having one."""
    state: AttemptState | None
    """None without an attempt."""
    exit_code: int | None
    signal: str | None
    reason: Reason | None
    message: str | None
    task_state: TaskState
    stdout: int
    """Bytes in the whole stream, whether followed or not."""
    stderr: int
    stdout_dropped: int
    stderr_dropped: int


class Follow:
    """Streams output on behalf of callers, as fast as each of them takes it."""

    def __init__(
        self, store: TaskStore, files: LogStore, bus: Bus, *, ping_s: float = PING_S
    ) -> None:
        self._store = store
        self._files = files
        self._bus = bus
        self._logs = Logs(store, files)
        self._ping_s = ping_s

    async def check(
        self, caller: Caller, task_id: TaskId, attempt: int | None, stdout: int, stderr: int
    ) -> None:
        """Raise what :meth:`follow` would raise at once, for callers who answer before it begins.

        Raises:
            NotFound: no such task in the caller's workspace, or no attempt of this number.
            InvalidInput: an offset below -1.
        """
        check_offset("stdout", stdout, least=-1)
        check_offset("stderr", stderr, least=-1)
        await self._store.task(caller.workspace, task_id)
        if attempt is not None:
            await self._logs.resolve(caller, task_id, attempt)

    async def follow(
        self, caller: Caller, task_id: TaskId, attempt: int | None, stdout: int, stderr: int
    ) -> AsyncGenerator[Output | Exit | Ping, None]:
        """The output of an attempt from these offsets on (-1 leaves a stream out), then its exit.

        None stands for the latest attempt; if there is none yet, for the first. What is yielded is
        read when it is asked for and at most 64 KiB. It ends without an :class:`Exit` only when the
        service stops. Close it (``aclosing``) when leaving early. Raises as :meth:`check`, and
        ``NotFound`` when the task is deleted meanwhile.
        """
        check_offset("stdout", stdout, least=-1)
        check_offset("stderr", stderr, least=-1)
        while True:
            # Before looking, here and below: no change can fall in between.
            changed = self._bus.changed(task_id)
            task, found = await self._look(caller, task_id, attempt)
            if found is not None:
                break
            if task.state in TERMINAL:
                yield _exit_without_attempt(task)
                return
            if not await self._change(changed):
                yield Ping()
            if self._bus.closed:
                return
        offsets = {Stream.STDOUT: stdout, Stream.STDERR: stderr}
        followed = _Followed(self._logs, self._files, offsets, found)
        async with aclosing(self._stream(caller, followed, changed)) as items:
            async for item in items:
                yield item

    async def _stream(
        self, caller: Caller, followed: "_Followed", changed: anyio.Event
    ) -> AsyncGenerator[Output | Exit | Ping, None]:
        task_id = followed.attempt.task_id
        await followed.locate()
        while True:
            while (output := await followed.next()) is not None:
                yield output
            if followed.ended:
                # Nothing was left to read after the end was seen.
                task = await self._store.task(caller.workspace, task_id)
                yield await followed.exit(task.state)
                return
            if not await self._news(changed, followed):
                yield Ping()
            if self._bus.closed:
                return
            if changed.is_set():
                changed = self._bus.changed(task_id)
                followed.attempt = await self._store.attempt(caller.workspace, followed.attempt.id)
                await followed.locate()

    async def _look(
        self, caller: Caller, task_id: TaskId, attempt: int | None
    ) -> tuple[Task, Attempt | None]:
        # The task first: one that has ended gets no attempt after this look at it.
        task = await self._store.task(caller.workspace, task_id)
        try:
            return task, await self._logs.resolve(caller, task_id, attempt)
        except NotFound as error:
            if attempt is None and error.kind == "attempt":
                return task, None
            raise

    async def _change(self, changed: anyio.Event) -> bool:
        with anyio.move_on_after(self._ping_s):
            await changed.wait()
            return True
        return False

    async def _news(self, changed: anyio.Event, followed: "_Followed") -> bool:
        """Wait until the task changed or the output grew; False when it is time for a ping."""
        news = False
        async with anyio.create_task_group() as waiting:

            async def change() -> None:
                nonlocal news
                await changed.wait()
                news = True
                waiting.cancel_scope.cancel()

            waiting.start_soon(change)
            if await self._files.changed(followed.attempt.id, self._ping_s, followed.seen_bytes):
                news = True
            waiting.cancel_scope.cancel()
        return news


class _Followed:
    """The attempt that is followed, how far, and where its output is read from."""

    def __init__(
        self, logs: Logs, files: LogStore, offsets: dict[Stream, int], attempt: Attempt
    ) -> None:
        self.attempt = attempt
        self.seen_bytes = 0
        """What both streams together held when :meth:`next` last looked."""
        self._logs = logs
        self._files = files
        self._offsets = offsets
        self._turns = list(Stream)
        self._folded: dict[Stream, bytes] = {}

    @property
    def ended(self) -> bool:
        return self.attempt.state in ENDED_ATTEMPT

    async def locate(self) -> None:
        """Find out where the output is, for this state of the attempt."""
        if self.ended:
            for stream in Stream:
                folded = await self._logs.folded(self.attempt, stream)
                if folded is not None:
                    self._folded[stream] = folded

    async def next(self) -> Output | None:
        """The next bytes of either stream, in turns; None when there are none at present."""
        sizes = {stream: await self.size(stream) for stream in Stream}
        self.seen_bytes = sum(sizes.values())
        for stream in self._turns:
            offset = self._offsets[stream]
            if not 0 <= offset < sizes[stream]:
                continue
            data = await self.read(stream, offset, min(CHUNK_BYTES, sizes[stream] - offset))
            if data:
                self._offsets[stream] += len(data)
                self._turns.remove(stream)
                self._turns.append(stream)
                return Output(stream, offset, data, self.attempt.number)
        return None

    async def size(self, stream: Stream) -> int:
        if stream in self._folded:
            return len(self._folded[stream])
        return (await self._files.size(self.attempt.id, stream)).stored_bytes

    async def read(self, stream: Stream, offset: int, length: int) -> bytes:
        if stream in self._folded:
            return self._folded[stream][offset : offset + length]
        return await self._files.read(self.attempt.id, stream, offset, length)

    async def exit(self, task_state: TaskState) -> Exit:
        attempt = self.attempt
        dropped = {
            stream: (await self._files.size(attempt.id, stream)).dropped_bytes for stream in Stream
        }
        return Exit(
            attempt=attempt.number,
            state=attempt.state,
            exit_code=attempt.exit_code,
            signal=attempt.signal,
            reason=attempt.reason,
            message=attempt.message,
            task_state=task_state,
            stdout=await self.size(Stream.STDOUT),
            stderr=await self.size(Stream.STDERR),
            stdout_dropped=attempt.stdout.dropped_bytes or dropped[Stream.STDOUT],
            stderr_dropped=attempt.stderr.dropped_bytes or dropped[Stream.STDERR],
        )


def _exit_without_attempt(task: Task) -> Exit:
    return Exit(
        attempt=0,
        state=None,
        exit_code=None,
        signal=None,
        reason=task.reason,
        message=task.message,
        task_state=task.state,
        stdout=0,
        stderr=0,
        stdout_dropped=0,
        stderr_dropped=0,
    )
