"""The store ports: the durable truth, split by aggregate.

Every method that writes returns only after its commit. Writes that arrive together may share one
transaction (group commit); each still succeeds or fails alone. All of them may raise
``StorageFull`` or ``Unavailable``. Every method that changes a task answers with the
:class:`Change` records to announce.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from taskyard.core.attempts import Attempt, Report
from taskyard.core.availability import RuntimeStatus
from taskyard.core.changes import Change, Event
from taskyard.core.cores import Allotment, Topology
from taskyard.core.demand import Demand, ReadyTask
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    TaskId,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.schedule import CatchUp
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask, Task


class Submitted(Struct, frozen=True):
    """Outcome of one submit."""

    task_id: TaskId
    state: TaskState
    seq: int
    created: bool
    """False: the idempotency key was known, and this is the task it stands for."""
    attempt: Attempt | None = None
    """The attempt it was stored with, if it was placed at once."""


class TaskQuery(Struct, frozen=True):
    """Which tasks to list, newest first unless ``oldest_first``."""

    workspace: WorkspaceName
    states: frozenset[TaskState] = frozenset()
    """Any of these; all states when empty."""
    group: GroupName | None = None
    labels: dict[str, str] = {}
    """All of these pairs."""
    text: str | None = None
    """Case-insensitive part of name, group, id or command."""
    created_after: Instant | None = None
    created_before: Instant | None = None
    schedule_id: TaskId | None = None
    oldest_first: bool = False
    limit: int = 50
    after_seq: int | None = None
    """Continue behind this ``seq`` (the cursor of the page before)."""


class TaskPage(Struct, frozen=True):
    """One page of tasks."""

    tasks: list[Task]
    next_seq: int | None
    """Cursor for the next page; None at the end. A page may be short, even empty, and still have
    a next one when a rare match needed a longer search than one page is granted."""


class GroupRecord(Struct, frozen=True):
    """A group's settings and its task counts."""

    name: GroupName
    workspace: WorkspaceName
    paused: bool = False
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}
    """By state; states without tasks are left out."""


class CancelOutcome(Struct, frozen=True):
    """What a request to cancel one task led to."""

    task_id: TaskId
    outcome: str
    """``cancelled`` (it was waiting), ``killing`` (it runs; the kill is under way), ``ended`` (it
    had ended before), ``unknown``."""
    attempt: Attempt | None = None
    """The attempt to kill, with ``killing``."""
    kill_signal: str = "SIGTERM"
    kill_grace_s: float = 0.0
    """How its task asks to be killed."""


class TaskStore(Protocol):
    """Tasks as their owners see them. Someone else's task is an unknown one."""

    async def submit(self, tasks: Sequence[NewTask], actor: str | None) -> list[Submitted]:
        """Store new tasks, all or none, in order."""
        ...

    async def submit_placed(
        self, task: NewTask, actor: str | None, placement: "Placement"
    ) -> Submitted:
        """Store a new task that is queued together with the attempt it goes to at once.

        Without an attempt, as :meth:`submit`, if the worker is not the one it was, or does not
        take tasks. The ``seq`` of the placement is no matter.
        """
        ...

    async def task(self, workspace: WorkspaceName, task_id: TaskId) -> Task:
        """Raises ``NotFound``."""
        ...

    async def task_by_key(self, workspace: WorkspaceName, key: str) -> Task:
        """The task that an idempotency key stands for. Raises ``NotFound``."""
        ...

    async def list_tasks(self, query: TaskQuery) -> TaskPage:
        """A page in stable order; cost does not depend on how many tasks there are."""
        ...

    async def counts(
        self, workspace: WorkspaceName, group: GroupName | None = None
    ) -> dict[TaskState, int]:
        """How many tasks there are in each state that has any, from kept counters."""
        ...

    async def attempts(self, workspace: WorkspaceName, task_id: TaskId) -> list[Attempt]:
        """All attempts, first to last. Raises ``NotFound``."""
        ...

    async def attempt(self, workspace: WorkspaceName, attempt_id: AttemptId) -> Attempt:
        """One attempt by id. Raises ``NotFound``."""
        ...

    async def events(
        self, workspace: WorkspaceName, task_id: TaskId, after: int, limit: int
    ) -> list[Event]:
        """The history behind event number ``after`` (0: from the start). Raises ``NotFound``."""
        ...

    async def cancel(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """Cancel waiting tasks, mark running ones for the kill; one outcome for each id."""
        ...

    async def set_priority(
        self, workspace: WorkspaceName, task_id: TaskId, priority: int, now: Instant, actor: str
    ) -> list[Change]:
        """Raises ``NotFound``, or ``IllegalTransition`` unless the task waits."""
        ...

    async def reschedule(
        self,
        workspace: WorkspaceName,
        task_id: TaskId,
        start_at: Instant,
        now: Instant,
        actor: str,
        cron: str | None = None,
        timezone: str | None = None,
        catch_up: CatchUp | None = None,
    ) -> list[Change]:
        """Give a waiting task another start (a recurring one: next firing, and rule if given).

        Raises ``NotFound``, or ``IllegalTransition`` unless the task waits.
        """
        ...

    async def delete(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant
    ) -> tuple[list[AttemptId], list[Change]]:
        """Remove ended tasks with all that belongs to them; answers whose logs to delete.

        Raises ``NotFound``, or ``IllegalTransition`` if one has not ended; then none is removed.
        """
        ...

    async def folded(self, attempt_id: AttemptId, stream: str) -> bytes | None:
        """Output kept in the store itself; None if it is elsewhere."""
        ...

    async def ahead_of(self, task: Task, limit: int) -> int:
        """How many queued tasks of its group go before this queued task; counts to ``limit``."""
        ...


class GroupStore(Protocol):
    """Settings of groups and workspaces. A group exists once it has a task or a setting."""

    async def groups(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[GroupRecord]:
        """In order of name, behind ``after``."""
        ...

    async def group(self, workspace: WorkspaceName, name: GroupName) -> GroupRecord:
        """A group never heard of comes back with defaults."""
        ...

    async def set_group(
        self,
        workspace: WorkspaceName,
        name: GroupName,
        *,
        paused: bool | None = None,
        concurrency_limit: int | None = None,
        clear_limit: bool = False,
    ) -> GroupRecord:
        """Change what is given, keep the rest."""
        ...

    async def set_workspace_limit(self, workspace: WorkspaceName, limit: int | None) -> None:
        """Attempts of this workspace that may run at once; None for no limit."""
        ...

    async def limits(
        self,
    ) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
        """All workspace limits, and all groups that are paused or limited (without counts)."""
        ...


class Backlog(Struct, frozen=True):
    """Size of one queue of ready tasks."""

    workspace: WorkspaceName
    group: GroupName
    queued: int


class Placement(Struct, frozen=True):
    """A decision of the scheduler, ready to be committed."""

    task_id: TaskId
    seq: int
    """0 for a task that is about to be stored."""
    attempt_id: AttemptId
    lease_token: LeaseToken
    lease_expires_at: Instant
    worker_id: WorkerId
    incarnation: IncarnationId
    allotted: Allotment | None = None
    """The cores it got, if its task asks for whole ones; kept with the attempt's resources."""


class Placed(Struct, frozen=True):
    """A placement that was committed."""

    attempt: Attempt
    task: Task

    @property
    def change(self) -> Change:
        """What to announce."""
        task, attempt = self.task, self.attempt
        return Change(
            kind="assigned",
            at=attempt.assigned_at,
            task_id=task.id,
            seq=task.seq,
            workspace=task.workspace,
            group=task.spec.group,
            state=TaskState.RUNNING,
            was=TaskState.QUEUED,
            attempt_id=attempt.id,
            attempt_number=attempt.number,
        )


class WorkerRecord(Struct, frozen=True):
    """A worker as the engine knows it."""

    id: WorkerId
    incarnation: IncarnationId
    hostname: str
    version: str
    capacity: Capacity
    runtimes: tuple[str, ...]
    joined_at: Instant
    beat_at: Instant
    state: str = "ready"
    """``ready``, ``draining`` (takes nothing new) or ``lost``."""
    draining: bool = False
    """Whether an operator has it drained, in this and every later incarnation."""
    statuses: dict[str, RuntimeStatus] = {}
    """Its runtimes as last heard; not stored."""
    topology: Topology = Topology()
    """Its nodes and cores; not stored."""
    tags: tuple[str, ...] = ()
    """Given by its operator; not stored."""
    metadata: dict[str, str] = {}
    """Given by its operator; not stored."""


class Running(NamedTuple):
    """An attempt that has not ended, and what the scheduler has to know of its task."""

    attempt: Attempt
    group: GroupName
    demand: Demand


class DispatchStore(Protocol):
    """What the engine itself does to tasks, workspaces aside."""

    async def backlogs(self) -> list[Backlog]:
        """Every queue that has ready tasks."""
        ...

    async def counts(self) -> dict[tuple[WorkspaceName, TaskState], int]:
        """Tasks of every workspace by state."""
        ...

    async def ready(
        self,
        workspace: WorkspaceName,
        group: GroupName,
        after: tuple[int, int] | None,
        limit: int,
    ) -> list[ReadyTask]:
        """Queued tasks of a group by priority (high first) and acceptance.

        ``after`` is the ``(priority, seq)`` behind which to continue.
        """
        ...

    async def place(
        self, placements: Sequence[Placement], now: Instant
    ) -> tuple[list[Placed], list[Change]]:
        """Commit attempts and leases for those tasks that are still queued; others are left out."""
        ...

    async def apply(
        self, reports: Sequence[Report], now: Instant, chances: Sequence[float]
    ) -> tuple[list[Change], list[LeaseToken]]:
        """Apply what workers report, each if its lease still holds.

        ``chances``, one per report, place back-offs inside their jitter. A report that changes
        nothing because it was applied before is no error. Answers with the changes and with the
        leases that no longer hold; refused reports are kept in the history as ``refused``.
        """
        ...

    async def next_due(self) -> Instant | None:
        """When :meth:`due` will next have anything to do; None for never."""
        ...

    async def due(self, now: Instant, limit: int) -> list[Change]:
        """Queue what has become due, fire recurring tasks, expire what is too late.

        At most about ``limit`` changes at a time; call again while there are any. One firing time
        of a recurring task never yields two tasks.
        """
        ...

    async def join(self, worker: WorkerRecord) -> list[Attempt]:
        """Register an incarnation, move its worker's unended attempts to it, and return those."""
        ...

    async def renew(
        self, worker_id: WorkerId, incarnation: IncarnationId, now: Instant, until: Instant
    ) -> bool:
        """Extend all leases of an incarnation; False if it is not the present one or was lost."""
        ...

    async def lose(
        self, worker_id: WorkerId, incarnation: IncarnationId, now: Instant
    ) -> list[Change]:
        """Fence an incarnation: its attempts end as lost, their tasks requeue or fail by policy."""
        ...

    async def workers(self) -> list[WorkerRecord]:
        """All workers ever joined and not forgotten."""
        ...

    async def set_draining(self, worker_id: WorkerId, *, draining: bool) -> WorkerRecord:
        """Have a worker take nothing new, or let it again. Raises ``NotFound``."""
        ...

    async def running(self) -> list[Running]:
        """All attempts that have not ended."""
        ...

    async def prune(
        self,
        now: Instant,
        older_than: Instant | None,
        keep_count: int | None,
        limit: int,
    ) -> tuple[int, list[AttemptId]]:
        """Remove up to ``limit`` ended tasks: those that ended before ``older_than``, and per
        workspace those beyond the newest ``keep_count``; give the space back to the file system.

        Answers how many tasks were removed, and whose logs to delete: all their attempts'.
        """
        ...
