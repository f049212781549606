"""Jobs as dialects see them: put, look, stop, run again."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from taskyard.core.access.principals import Caller, Role
from taskyard.core.cron import check_seconds_cron, next_start
from taskyard.core.errors import Conflict, InvalidInput, NotFound
from taskyard.core.ids import GroupName, TaskId
from taskyard.core.instants import Instant
from taskyard.core.jobs import (
    LABEL,
    Execution,
    Job,
    JobDefinition,
    JobGroup,
    JobKey,
    JobLine,
    execution_of,
    may_be_execution,
)
from taskyard.core.states import TERMINAL
from taskyard.core.tasks import Task
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import Placement
from taskyard.ports.jobs import JobCounts, JobStore, Start, Stored
from taskyard.ports.store import CancelOutcome
from taskyard.services.access.permissions import require
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.admission import Admission
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.tasks.enqueue import Outcome
from taskyard.services.tasks.tasks import RETRYABLE, Tasks

RECURRING_SHOWN: Final = 1000
EXECUTIONS_SHOWN: Final = 20


class Jobs:
    """Everything a caller may do with the jobs of its workspace."""

    def __init__(
        self,
        store: JobStore,
        tasks: Tasks,
        bus: Bus,
        kill: KillOrders,
        load: Admission,
        clock: Clock,
        on_delayed: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; ``on_delayed`` is called when a job was put that starts later by itself."""
        self._store = store
        self._on_delayed = on_delayed
        self._tasks = tasks
        self._bus = bus
        self._kill = kill
        self._load = load
        self._clock = clock

    async def put(
        self,
        caller: Caller,
        key: JobKey,
        definition: JobDefinition,
        start_at: Instant | None = None,
        kept: Sequence[str] = (),
    ) -> Stored:
        """Add or replace a job, and start it: now, at ``start_at``, or by its cron rule.

        Raises:
            NotAllowed: the caller may not write.
            InvalidInput: the definition breaks a rule.
            Conflict: the workspace may not be served beside others.
            Overloaded: too much is waiting.
            StorageFull: nothing was stored.
        """
        require(caller, Role.WRITE)
        self._tasks.admit_workspace(caller.workspace)
        labels = {**definition.spec.labels, LABEL: key.id}
        spec = msgspec.structs.replace(
            definition.spec, group=key.group, cron=None, start_at=None, labels=labels
        )
        self._tasks.check(spec)
        now = self._clock.now()
        first: Instant | None = None
        if definition.cron is not None:
            check_seconds_cron(definition.cron)
            first = next_start(definition.cron, now)
            if first is None:
                raise InvalidInput("cron", "never fires")
        elif start_at is not None:
            # Also what is due already is started by the job itself, like every delayed start.
            first = max(start_at, now)
        self._load.admit(caller.workspace, 1)
        made = msgspec.structs.replace(definition, spec=spec)
        ticket = secrets.token_hex(16)

        async def put(placement: Placement | None) -> Stored:
            return await self._store.put(
                key, made, Start(first), ticket, kept, now, caller.actor, placement
            )

        if first is not None:
            stored = await put(None)
            self._bus.publish(stored.changes)
            self._on_delayed()
            return stored
        # As its execution will be; its number, which the store knows, does not matter for placing.
        return await self._tasks.enqueue.store(
            execution_of(key, made, 0, now, None),
            put,
            lambda stored: Outcome(stored.changes, stored.placed),
        )

    async def get(self, key: JobKey) -> Job:
        """Raises ``NotFound``."""
        return await self._store.job(key)

    async def of_group(self, caller: Caller, group: GroupName) -> list[JobLine]:
        """Latest modified first. Raises ``NotFound``."""
        return await self._store.jobs(caller.workspace, group)

    async def groups(
        self, caller: Caller, words: Sequence[str] | None, offset: int, limit: int
    ) -> tuple[list[JobGroup], int]:
        """A page of groups, oldest first, and how many there are in all; with any of ``words``."""
        return await self._store.groups(caller.workspace, words, offset, limit)

    async def executions(self, job: Job, limit: int = EXECUTIONS_SHOWN) -> list[Execution]:
        """Newest first."""
        return await self._store.executions(job, limit)

    async def execution(self, job: Job, task_id: TaskId) -> Execution:
        """Raises ``NotFound``."""
        return await self._store.execution(job, task_id)

    async def recurring(self, caller: Caller) -> list[Job]:
        """Jobs whose cron rule is in force, latest modified first."""
        return await self._store.recurring(caller.workspace, RECURRING_SHOWN)

    async def waiting(self, caller: Caller) -> list[Job]:
        """Jobs that start by themselves later, the next one first; at most a thousand."""
        return await self._store.waiting(caller.workspace, RECURRING_SHOWN)

    async def counts(self, caller: Caller) -> JobCounts:
        """Totals for displays."""
        return await self._store.counts(caller.workspace)

    async def stop(
        self, caller: Caller, key: JobKey, task_id: TaskId | None, wait_s: float
    ) -> list[Task]:
        """Stop one execution, or with None the job; answers with what was stopped.

        Returns when what ran has ended, or after ``wait_s``. Raises ``NotFound``, ``NotAllowed``.
        """
        require(caller, Role.WRITE)
        outcomes, changes = await self._store.stop(key, task_id, self._clock.now(), caller.actor)
        self._bus.publish(changes)
        await self._kill.order(outcomes, None, None)
        return await self._ended(caller, outcomes, wait_s)

    async def rerun(self, caller: Caller, key: JobKey, wait_s: float) -> TaskId:
        """Run a job once more, now; ends its last execution if that runs.

        Raises ``NotFound``, ``NotAllowed``, or ``Conflict`` while a start of it is pending.
        """
        require(caller, Role.WRITE)
        self._load.admit(caller.workspace, 1)
        task_id, outcomes, changes = await self._store.rerun(key, self._clock.now(), caller.actor)
        self._bus.publish(changes)
        await self._kill.order(outcomes, None, None)
        await self._ended(caller, outcomes, wait_s)
        return task_id

    async def rerun_of(self, caller: Caller, task: Task) -> TaskId | None:
        """Run the job once more of which a task is an execution; None if it is none of a job.

        The job's definition is the present one. Raises as :meth:`rerun`, and ``Conflict`` if the
        task succeeded or has not ended, or while a later execution has not.
        """
        require(caller, Role.WRITE)
        job_id = task.spec.labels.get(LABEL)
        if job_id is None or not may_be_execution(task.id):
            return None
        key = JobKey(caller.workspace, task.spec.group, job_id)
        try:
            job = await self._store.job(key)
            await self._store.execution(job, task.id)
        except NotFound:
            return None  # a label that somebody else has set
        if task.state not in RETRYABLE:
            raise Conflict(f"a task that is {task.state} cannot be retried")
        (last,) = await self._store.executions(job, 1)
        if last.task.state not in TERMINAL:
            raise Conflict("a later execution of this job has not ended")
        return await self.rerun(caller, key, 0)

    async def _ended(
        self, caller: Caller, outcomes: Sequence[CancelOutcome], wait_s: float
    ) -> list[Task]:
        return [
            await self._tasks.wait(caller, one.task_id, wait_s)
            for one in outcomes
            if one.outcome == "killing"
        ]
