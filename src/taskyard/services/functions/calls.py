"""Calls of functions: from a request to a task, and from its end to the answer."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from taskyard.core.access.principals import Caller
from taskyard.core.attempts import Ended, Report
from taskyard.core.changes import Change
from taskyard.core.errors import Conflict, NotAuthenticated, NotFound
from taskyard.core.functions.functions import GROUP_PREFIX, CallRequest, CallResult
from taskyard.core.ids import AttemptId, TaskId
from taskyard.core.resources import Resources
from taskyard.core.states import TERMINAL, Reason, TaskState
from taskyard.core.tasks import FunctionCall, Task, TaskSpec
from taskyard.ports.clock import Clock
from taskyard.ports.functions import FunctionStore, ResultFiles
from taskyard.services.access.credential_lifetime import watched, while_valid
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.known_functions import CallTarget
from taskyard.services.notifications.bus import LOOK_AGAIN_S, Bus
from taskyard.services.tasks.tasks import Tasks

KILL_GRACE_S: Final = 1.0
ENDED_KEPT: Final = 2_000
"""Ends that are kept for those who have not begun to wait, and answers until they are announced."""
FRESH_BYTES: Final = 16 << 20
"""Answers that are kept until their ends are announced. Others are read from the store."""


class FunctionPaused(Conflict):
    """The function is paused."""


class FunctionNotReady(Conflict):
    """The function has never been built successfully."""


class CallFailed(Conflict):
    """The call ended without an answer of the function."""

    def __init__(
        self, task_id: TaskId, state: TaskState, reason: Reason | None, message: str | None
    ) -> None:
        self.task_id = task_id
        self.state = state
        self.reason = reason
        super().__init__(message or f"the call is {state.value}")


Outcome = tuple[TaskState, CallResult | None]


class Calls:
    """Makes tasks of calls, waits for them, and finds what they answered."""

    def __init__(
        self,
        functions: Functions,
        tasks: Tasks,
        store: FunctionStore,
        files: ResultFiles,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._functions = functions
        self._tasks = tasks
        self._store = store
        self._files = files
        self._clock = clock
        self._waiting: dict[TaskId, asyncio.Future[Outcome | None]] = {}
        self._fresh: dict[AttemptId, CallResult] = {}
        """What was stored a moment ago, until the changes are announced."""
        self._fresh_bytes = 0
        self._ended: dict[TaskId, TaskState] = {}
        """Where there is a feed, a call may have ended before its submit returns."""
        self._bus = bus
        bus.listen(self._on_changes)
        bus.hear_own(self._on_changes)
        bus.awaited_while(lambda: bool(self._waiting))

    async def prepare(
        self, caller: Caller, key: str, request: CallRequest, *, version: int | None = None
    ) -> TaskSpec:
        """The specification of a call, bound to the version that is live now.

        Whoever submits it may replace everything but work, group and resources.

        Raises:
            NotFound: there is no such function.
            FunctionPaused: it takes no calls.
            FunctionNotReady: there is nothing that could run.
        """
        return self.spec(await self._functions.target(caller.workspace, key, version), request)

    def spec(self, target: CallTarget, request: CallRequest) -> TaskSpec:
        """The same for a function that was looked up. Raises all but ``NotFound``."""
        function, number = target.function, target.version
        if function.paused:
            raise FunctionPaused(f"the function {function.name!r} is paused")
        if number is None:
            raise FunctionNotReady(f"the function {function.name!r} has no build that succeeded")
        limits = function.limits
        return TaskSpec(
            work=FunctionCall(
                function_id=function.id,
                function=function.name,
                version=number,
                request=request,
                image=target.is_image,
            ),
            group=function.group,
            name=function.name,
            resources=Resources(cpu_millis=limits.cpu_millis, memory_bytes=limits.memory_bytes),
            timeout_s=limits.timeout_s,
            kill_grace_s=KILL_GRACE_S,
        )

    async def call(
        self, caller: Caller, spec: TaskSpec, wait_s: float
    ) -> tuple[Task, CallResult | None]:
        """Submit a call and wait for its answer; None if it has not ended after ``wait_s``.

        Raises as ``Tasks.submit``, ``CallFailed`` if it ended without an answer, and
        ``NotAuthenticated`` if the caller's credential ends before.
        """
        task, created = await self._tasks.submit(caller, spec)
        if not created:
            if task.state in TERMINAL:
                return task, await self.result(caller, task.id)
            waited = self._tasks.wait(caller, task.id, wait_s)
            task = await while_valid(self._clock, caller, waited)
            answered = task.state in TERMINAL
            return task, await self.result(caller, task.id) if answered else None
        loop = asyncio.get_running_loop()
        future = self._waiting[task.id] = loop.create_future()
        # Nothing was awaited since the commit: unless there is a feed, its end is still to come.
        ended = self._ended.pop(task.id, None)
        if ended is not None:
            future.set_result((ended, None))
        self._bus.on_awaited()
        # A cancel scope would cost ten times as much.
        timer = loop.call_later(wait_s, _give_up, future)
        try:
            with watched(self._clock, caller, partial(_withdraw, future)):
                found = await self._outcome(caller, task.id, future)
        finally:
            timer.cancel()
            self._waiting.pop(task.id, None)
        if found is None:
            return task, None
        state, result = found
        if result is not None and result.body is not None:
            return replace(task, state=state), result
        return await self._tasks.get(caller, task.id), await self.result(caller, task.id)

    async def _outcome(
        self, caller: Caller, task_id: TaskId, future: "asyncio.Future[Outcome | None]"
    ) -> Outcome | None:
        """What the future is set to; where an end may be missed, look for it now and then."""
        if not self._bus.fed:
            return await future
        while not (await asyncio.wait({future}, timeout=LOOK_AGAIN_S))[0]:
            task = await self._tasks.get(caller, task_id)
            if task.state in TERMINAL:
                return task.state, None
        return await future

    async def result(self, caller: Caller, task_id: TaskId) -> CallResult:
        """What a call answered.

        Raises:
            NotFound: there is no such task.
            Conflict: it is no call, or it has not ended.
            CallFailed: it ended without an answer.
        """
        task = await self._tasks.get(caller, task_id)
        if not isinstance(task.spec.work, FunctionCall):
            raise Conflict("the task is not a function call; see its logs")
        if task.state not in TERMINAL:
            raise Conflict(f"the call has not ended: it is {task.state.value}")
        found = await self._store.result(caller.workspace, task_id)
        if found is None or task.state is not TaskState.SUCCEEDED:
            raise CallFailed(task.id, task.state, task.reason, task.message)
        attempt_id, result = found
        if result.body is not None:
            return result
        try:
            return replace(result, body=await self._files.read(attempt_id))
        except NotFound:
            text = "the answer is not there any more"
            raise CallFailed(task.id, task.state, None, text) from None

    def arrived(self, reports: Sequence[Report]) -> None:
        """These are stored, and about to be announced."""
        for report in reports:
            if isinstance(report, Ended) and report.result is not None:
                self._fresh[report.attempt_id] = report.result
                self._fresh_bytes += len(report.result.body or b"")
        while self._fresh_bytes > FRESH_BYTES or len(self._fresh) > ENDED_KEPT:
            self._take(next(iter(self._fresh)))

    def announced(self) -> None:
        """The announcement is over, unless it is the feed's to make."""
        if not self._bus.fed:
            self._fresh.clear()
            self._fresh_bytes = 0

    def _take(self, attempt_id: AttemptId | None) -> CallResult | None:
        result = None if attempt_id is None else self._fresh.pop(attempt_id, None)
        if result is not None:
            self._fresh_bytes -= len(result.body or b"")
        return result

    def _on_changes(self, changes: Sequence[Change]) -> None:
        fed = self._bus.fed
        if not self._waiting and not fed:
            return
        for change in changes:
            if change.state not in TERMINAL:
                continue
            result = self._take(change.attempt_id)
            if change.state is not TaskState.SUCCEEDED:
                result = None
            future = self._waiting.pop(change.task_id, None)
            if future is not None:
                if not future.done():
                    future.set_result((change.state, result))
            elif fed and change.group.startswith(GROUP_PREFIX):
                self._ended[change.task_id] = change.state
                if len(self._ended) > ENDED_KEPT:
                    del self._ended[next(iter(self._ended))]


def _withdraw(future: asyncio.Future[Outcome | None]) -> None:
    if not future.done():
        future.set_exception(
            NotAuthenticated("this credential expired or was revoked during the request")
        )


def _give_up(future: asyncio.Future[Outcome | None]) -> None:
    if not future.done():
        future.set_result(None)
