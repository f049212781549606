"""Following an attempt's output: every byte once, from any offset, in order, to the exit record."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import anyio
from msgspec import Struct

from taskyard.core.access.principals import Caller
from taskyard.core.attempts import Attempt
from taskyard.core.errors import NotFound
from taskyard.core.ids import TaskId
from taskyard.core.output_index import Merge
from taskyard.core.states import TERMINAL, AttemptState, Reason, TaskState
from taskyard.core.tasks import Task
from taskyard.ports.logs import LogStore, Stream
from taskyard.ports.store import TaskStore
from taskyard.services.notifications.bus import Bus
from taskyard.services.tasks.followed import ORDER_S, FollowedAttempt, Output
from taskyard.services.tasks.logs import Logs, check_offset
from taskyard.services.tasks.output_sources import AwaitedOutput

PING_S: Final = 15.0


class Ping(Struct, frozen=True):
    """Nothing happened for a while; the follower is still there."""


class CaughtUp(Struct, frozen=True, tag="caught_up"):
    """All there is was delivered, and there will be more: the end of one who does not wait."""

    attempt: int
    """0 if there is none yet."""


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
    stdout_missing: int = 0
    """Bytes that were stored and cannot be found any more, such as after damage to the disk."""
    stderr_missing: int = 0


class Follow:
    """Streams output on behalf of callers, as fast as each of them takes it."""

    def __init__(
        self, store: TaskStore, files: LogStore, bus: Bus, *, ping_s: float = PING_S
    ) -> None:
        self._store = store
        self._files = AwaitedOutput(files)
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
        self,
        caller: Caller,
        task_id: TaskId,
        attempt: int | None,
        stdout: int,
        stderr: int,
        *,
        wait: bool = True,
        timed: bool = False,
    ) -> AsyncGenerator[Output | Exit | CaughtUp | Ping, None]:
        """The output of an attempt from these offsets on, in order, then its exit.

        The offsets (-1 leaves a stream out) are the place of a reader in both streams: going on
        with those that it has reached, nothing is lost or repeated, and the order is the same.
        What is yielded is read when it is asked for and at most 64 KiB. It ends without an
        :class:`Exit` when the service stops, and without ``wait``. Close it (``aclosing``) when
        leaving early.

        Args:
            caller: on whose behalf.
            task_id: the task.
            attempt: which attempt, from 1; None stands for the latest or, if there is none yet, for
                the first.
            stdout: where to begin in it.
            stderr: the same.
            wait: whether to go on at the present end; otherwise :class:`CaughtUp` comes there.
            timed: whether each piece of output comes by itself, and with its time.

        Raises:
            TaskyardError: as :meth:`check`, and ``NotFound`` when the task is deleted meanwhile.
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
            if not wait:
                yield CaughtUp(attempt or 0)
                return
            if not await self._change(changed):
                yield Ping()
            if self._bus.closed:
                return
        merge = Merge(stdout, stderr)
        followed = FollowedAttempt(self._logs, self._files, merge, found, timed=timed)
        async with aclosing(self._stream(caller, followed, changed, wait=wait)) as items:
            async for item in items:
                yield item

    async def _stream(
        self, caller: Caller, followed: FollowedAttempt, changed: anyio.Event, *, wait: bool
    ) -> AsyncGenerator[Output | Exit | CaughtUp | Ping, None]:
        task_id = followed.attempt.task_id
        await followed.locate()
        while True:
            while (output := await followed.next()) is not None:
                yield output
            if followed.ended:
                # Nothing was left to read after the end was seen.
                task = await self._store.task(caller.workspace, task_id)
                yield await self._exit(followed, task.state)
                return
            if not (wait or followed.is_behind):
                yield CaughtUp(followed.attempt.number)
                return
            news = await self._news(changed, followed)
            if not news and not followed.is_behind:
                yield Ping()
            if self._bus.closed:
                return
            # Also after a while without any news: the one about the end may have been missed.
            if changed.is_set() or not (news or followed.is_behind):
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

    async def _news(self, changed: anyio.Event, followed: FollowedAttempt) -> bool:
        """Wait until the task changed or the output grew; False after a while without either."""
        news = False
        timeout_s = min(self._ping_s, ORDER_S) if followed.is_behind else self._ping_s
        async with anyio.create_task_group() as waiting:

            async def change() -> None:
                nonlocal news
                await changed.wait()
                news = True
                waiting.cancel_scope.cancel()

            waiting.start_soon(change)
            if await self._files.changed(followed.attempt.id, timeout_s, followed.seen_bytes):
                news = True
            waiting.cancel_scope.cancel()
        return news

    async def _exit(self, followed: FollowedAttempt, task_state: TaskState) -> Exit:
        attempt = followed.attempt
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
            stdout=await followed.size(Stream.STDOUT),
            stderr=await followed.size(Stream.STDERR),
            stdout_dropped=attempt.stdout.dropped_bytes or dropped[Stream.STDOUT],
            stderr_dropped=attempt.stderr.dropped_bytes or dropped[Stream.STDERR],
            stdout_missing=await followed.missing(Stream.STDOUT),
            stderr_missing=await followed.missing(Stream.STDERR),
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
