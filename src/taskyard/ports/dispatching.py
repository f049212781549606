"""The dispatch port: what the engine itself does to tasks. Raises as the store ports do.

Beside it: what waits for the wall clock, and entries that background work could not deal with.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt, Report
from taskyard.core.availability import RuntimeStatus
from taskyard.core.changes import Change
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    PlaneId,
    TaskId,
    Term,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import CpuAllocation, Topology
from taskyard.core.scheduling.requirements import ReadyTask, Requirements
from taskyard.core.states import TaskState
from taskyard.core.tasks import Task

LEASE_S: Final = 10.0
"""How long a worker may be silent before its attempts can be given to another one."""
ONLY_PLANE: Final = PlaneId("")
"""Stands for the control plane of an installation that has one."""
JOINED: Final = PlaneId("@joined")
"""Stands for the control plane of workers on other machines, which live beside none: each is
reached by its own name."""
Holder = tuple[WorkerId, IncarnationId]
"""One life of a worker."""
ParkedKind = Literal["task", "job", "schedule", "trigger", "delivery", "attempt"]


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
    allotted: CpuAllocation | None = None
    """The cores it got, if its task asks for whole ones; kept with the attempt's resources."""
    term: Term | None = None
    """In which it was decided: it counts only while no later one has begun. None: always."""


class PlacedAttempt(Struct, frozen=True):
    """A placement that was committed."""

    attempt: Attempt
    task: Task

    @property
    def change(self) -> Change:
        """What to announce."""
        return Change.assigned(self.task, self.attempt)


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
    """Its runtimes as last heard."""
    topology: Topology = Topology()
    """Its nodes and cores."""
    tags: tuple[str, ...] = ()
    """Given by its operator."""
    metadata: dict[str, str] = {}
    """Given by its operator."""
    plane_id: PlaneId = ONLY_PLANE
    """The control plane beside which it lives."""
    leaves_at: Instant | None = None
    """When it takes nothing any more, by the control plane's clock; None if that is not known."""


class WorkerLease(Struct, frozen=True):
    """A worker, and how long its lease holds."""

    record: WorkerRecord
    left_s: float
    """Seconds by the store's clock; not positive once the lease has run out."""


class Running(NamedTuple):
    """An attempt that has not ended, and what the scheduler needs to know of its task."""

    attempt: Attempt
    group: GroupName
    requirements: Requirements


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
    ) -> tuple[list[PlacedAttempt], list[Change]]:
        """Commit attempts and leases for those tasks that are still queued; others are left out.

        Raises ``NotLeading`` if a placement was decided in a term that has ended: then nothing
        is changed.
        """
        ...

    async def apply(
        self,
        reports: Sequence[Report],
        now: Instant,
        chances: Sequence[float],
        worker_id: WorkerId | None = None,
    ) -> tuple[list[Change], list[LeaseToken]]:
        """Apply what workers report, each if its lease still holds.

        With ``worker_id``, leases of other workers do not, whoever knows them: such a report is
        refused and not kept.

        ``chances``, one per report, place back-offs inside their jitter. A report that changes
        nothing because it was applied before is no error. Answers with the changes and with the
        leases that no longer hold; refused reports are kept in the history as ``refused``.
        """
        ...

    async def next_due(self) -> Instant | None:
        """When :meth:`due` will next have anything to do; None for never."""
        ...

    async def due(self, now: Instant, limit: int, term: Term | None = None) -> list[Change]:
        """Queue what has become due, fire recurring tasks, expire what is too late.

        At most about ``limit`` changes at a time; call again while there are any. One firing time
        of a recurring task never yields two tasks. Raises ``NotLeading`` if ``term`` has ended;
        without one it is done whoever leads.
        """
        ...

    async def join(self, worker: WorkerRecord, lease_s: float = LEASE_S) -> list[Attempt]:
        """Register an incarnation, move its worker's unended attempts to it, and return those.

        Its lease holds for ``lease_s`` from now, by the store's clock.
        """
        ...

    async def describe(self, worker: WorkerRecord) -> bool:
        """Store what an incarnation says of its runtimes; False if it is not the present one."""
        ...

    async def renew(
        self, holders: Sequence[Holder], now: Instant, lease_s: float = LEASE_S
    ) -> frozenset[WorkerId]:
        """Extend the leases of these incarnations, all in one statement, by the store's clock.

        Answers which hold. The others are not their workers' present ones, or were lost.
        """
        ...

    async def leases(self) -> list[WorkerLease]:
        """All workers that were not forgotten."""
        ...

    async def lose(
        self,
        worker_id: WorkerId,
        incarnation: IncarnationId,
        now: Instant,
        *,
        term: Term | None = None,
        only_expired: bool = False,
    ) -> list[Change]:
        """Fence an incarnation: its attempts end as lost, their tasks requeue or fail by policy.

        Nothing happens if it is not the present one, or, with ``only_expired``, while its lease
        holds. Raises ``NotLeading`` as :meth:`due`.
        """
        ...

    async def workers(self) -> list[WorkerRecord]:
        """All workers ever joined and not forgotten."""
        ...

    async def set_draining(
        self, worker_id: WorkerId, *, draining: bool, audit: AuditEntry | None = None
    ) -> WorkerRecord:
        """Have a worker take nothing new, or let it again; told by ``audit`` if it is given.

        Raises ``NotFound``.
        """
        ...

    async def running(self) -> list[Running]:
        """All attempts that have not ended."""
        ...

    async def plane_of(self, attempt_id: AttemptId) -> PlaneId | None:
        """Beside which control plane the output of an attempt may be: where it runs, or ran.

        None if it has ended without any, or is not known.
        """
        ...

    async def holder_of(self, attempt_id: AttemptId) -> WorkerId | None:
        """The worker that an attempt was given to, also if it has ended.

        None if that worker was given up with it, or the attempt is not known.
        """
        ...

    async def is_drained(self, worker_id: WorkerId) -> bool:
        """Whether an operator has a worker drained; False for one never heard of."""
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

        Answers how many tasks were removed, and whose logs to delete: all their attempts'. What
        else belongs to them goes as well: executions, calls, results. Calls are counted on.
        """
        ...


class TimingStore(Protocol):
    """Everything that waits for a moment of the wall clock."""

    async def went_back(self, by_s: float, now: Instant) -> None:
        """The wall clock was set back by so many seconds, and says ``now``.

        What waits for a while (a delay, a back-off) goes on waiting for as long as before; what
        recurs fires next when its rule says so, by the clock as it is now; what was given a
        moment still waits for that.
        """
        ...


class Parked(Struct, frozen=True):
    """An entry that was put aside so that the others can go on."""

    kind: ParkedKind
    key: str
    """Its id."""
    workspace: WorkspaceName
    reason: str
    """Why it could not be dealt with."""
    since: Instant
    retry_at: Instant
    """When it is tried again; at the next start of the server at the latest."""


class ParkingStore(Protocol):
    """What is put aside."""

    async def park(
        self, kind: ParkedKind, key: str, workspace: WorkspaceName, reason: str, now: Instant
    ) -> None:
        """Put an entry aside for a while; again if it failed again.

        Nothing happens to a task, job, schedule or delivery that waits for no time any more.
        """
        ...

    async def parked(self, workspace: WorkspaceName, limit: int) -> Sequence[Parked]:
        """What is put aside in a workspace, longest first."""
        ...
