"""Function invocations: create, wait for, query."""

from collections.abc import Mapping

from msgspec.structs import replace

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotFound
from taskyard.core.functions.functions import CallRequest, CallResult, Function
from taskyard.core.functions.invocations import (
    Allowance,
    CallCounts,
    CallHeaders,
    CallOrigin,
    Invocation,
    InvocationView,
)
from taskyard.core.functions.resources import new_id
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import DAY, Instant, to_datetime
from taskyard.core.resources import Resources
from taskyard.core.tasks import FunctionCall, Task
from taskyard.ports.clock import Clock
from taskyard.ports.function_resources import InvocationStore, NewInvocation
from taskyard.services.access.permissions import require
from taskyard.services.functions.calls import Calls
from taskyard.services.functions.functions import Functions
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.tasks.enqueue import outcome_of
from taskyard.services.tasks.tasks import Tasks, retried


class Invocations:
    """Makes calls, waits for them, counts them."""

    def __init__(
        self,
        store: InvocationStore,
        functions: Functions,
        calls: Calls,
        tasks: Tasks,
        dispatch: Dispatch,
        bus: Bus,
        clock: Clock,
        headers: CallHeaders,
        *,
        rerun_if_lost: bool = True,
        quotas: Mapping[WorkspaceName, int] | None = None,
    ) -> None:
        self._store = store
        self._functions = functions
        self._calls = calls
        self._tasks = tasks
        self._dispatch = dispatch
        self._bus = bus
        self._clock = clock
        self._headers = headers
        self._rerun_if_lost = rerun_if_lost
        self._quotas = quotas or {}

    def quota(self, workspace: WorkspaceName) -> tuple[Allowance, ...]:
        """Calls left to a workspace this month (UTC); None if its calls are not counted."""
        limit = self._quotas.get(workspace)
        if limit is None:
            return ()
        month = to_datetime(self._clock.now()).strftime("%Y-%m")
        return (Allowance(f"workspace:{workspace}", month, limit),)

    async def check(self, allowances: tuple[Allowance, ...]) -> None:
        """Raise ``AllowanceSpent`` if a call could not be issued now."""
        if any(one.limit is not None for one in allowances):
            await self._store.check(allowances)

    async def prepare(
        self,
        caller: Caller,
        function_id: str,
        request: CallRequest,
        origin: CallOrigin,
        allowances: tuple[Allowance, ...] = (),
        timeout_s: float | None = None,
    ) -> NewInvocation:
        """A call, ready to be stored; it uses the version that is live when it starts.

        Raises as ``Calls.prepare``, ``NotAllowed``, ``InvalidInput``, ``Overloaded``.
        """
        target = await self._functions.target(caller.workspace, function_id)
        spec, function = self._calls.spec(target, request), target.function
        limits = function.limits
        if timeout_s is not None:
            limits = replace(limits, timeout_s=timeout_s)
        now = self._clock.now()
        call = Invocation(new_id(now), caller.workspace, function.id, now, origin, limits)
        given = {
            self._headers.task: call.id,
            self._headers.function: function.id,
            self._headers.trigger: origin.trigger_id,
            self._headers.schedule: origin.schedule_id,
        }
        added = tuple((name, value) for name, value in given.items() if name and value)
        work = FunctionCall(
            function_id=function.id,
            function=function.name,
            request=replace(request, headers=(*request.headers, *added)),
            alias=call.id,
            blob_header=self._headers.blob,
            image=target.is_image,
        )
        spec = replace(
            spec,
            work=work,
            name=function.title or function.name,
            timeout_s=limits.timeout_s,
            resources=self._granted(spec.resources),
            rerun_if_lost=self._rerun_if_lost,
        )
        self._tasks.admit(caller, 1)
        return NewInvocation(self._tasks.prepare(caller, spec), call, caller.actor, allowances)

    async def issue(self, issue: NewInvocation) -> Invocation:
        """Store a call; it is on disk when this returns. Raises ``AllowanceSpent``."""
        await self._tasks.enqueue.store(
            issue.task,
            lambda placement: self._store.issue(issue, placement),
            lambda stored: outcome_of(issue.task, stored),
        )
        return issue.call

    async def retry(self, caller: Caller, task: Task) -> TaskId | None:
        """Repeat an invocation under a new id; None for a task that is not an invocation.

        Raises as :meth:`prepare` and :meth:`issue`, and ``Conflict`` unless it failed.
        """
        work = task.spec.work
        if not isinstance(work, FunctionCall) or not work.alias:
            return None
        require(caller, Role.WRITE)
        try:
            view = await self.own(caller, work.alias)
        except NotFound:
            return None
        if view.task_id != task.id:
            return None
        retried(task)
        names = self._headers
        told = {names.task, names.function, names.trigger, names.schedule}
        told = {name.lower() for name in told}
        headers = tuple(pair for pair in work.request.headers if pair[0].lower() not in told)
        issue = await self.prepare(
            caller,
            work.function_id,
            replace(work.request, headers=headers),
            view.call.origin,
            self.quota(caller.workspace),
            view.call.limits.timeout_s,
        )
        issue = replace(issue, task=replace(issue.task, retry_of=task.id))
        await self.issue(issue)
        return issue.task.id

    async def use_once(self, name: str, until: Instant) -> bool:
        """Note durably that a name was used, until it is forgotten; False if it was before."""
        today, last = (to_datetime(one).strftime("%Y-%m-%d") for one in (self._clock.now(), until))
        return await self._store.use_once(name, last, today)

    async def view(self, call_id: str) -> InvocationView:
        """One call, of any workspace. Raises ``NotFound``."""
        return await self._store.view(call_id)

    async def own(self, caller: Caller, call_id: str) -> InvocationView:
        """One call of the caller's workspace. Raises ``NotFound``."""
        found = await self._store.view(call_id)
        if found.call.workspace != caller.workspace:
            raise NotFound("call", call_id)
        return found

    async def views(
        self,
        caller: Caller,
        function_id: str | None,
        *,
        after: InvocationView | None = None,
        offset: int = 0,
        limit: int,
    ) -> list[InvocationView]:
        """In the order in which they were issued, ``offset`` of them left out behind ``after``."""
        return await self._store.views(
            caller.workspace, function_id, after=after, offset=offset, limit=limit
        )

    async def wait(self, caller: Caller, view: InvocationView, timeout_s: float) -> InvocationView:
        """The call once it has ended, or as it is after ``timeout_s``."""
        await self._tasks.wait(caller, view.task_id, timeout_s)
        return await self._store.view(view.call.id)

    async def result(self, caller: Caller, view: InvocationView) -> CallResult:
        """What an ended call answered. Raises as ``Calls.result``."""
        return await self._calls.result(caller, view.task_id)

    async def counts(
        self,
        caller: Caller,
        *,
        function: Function | None = None,
        endpoint_id: str | None = None,
    ) -> CallCounts:
        """Calls of the workspace, or of a function or an endpoint of it."""
        now = self._clock.now()
        return await self._store.counts(
            caller.workspace,
            Instant(now - now % DAY),
            Instant(now - 7 * DAY),
            function_id=None if function is None else function.id,
            endpoint_id=endpoint_id,
        )

    def _granted(self, asked: Resources) -> Resources:
        """No more than the largest worker has: a limit above that is none, and never waits."""
        workers = [record.capacity for record, _ in self._dispatch.workers()]
        if not workers:
            return asked
        cpu, memory = asked.cpu_millis, asked.memory_bytes
        most_cpu = max(one.cpu_millis for one in workers)
        most_memory = max(one.memory_bytes for one in workers)
        return replace(
            asked,
            cpu_millis=None if cpu is None else min(cpu, most_cpu),
            memory_bytes=None if memory is None else min(memory, most_memory),
        )
