"""The dispatch port in memory: the reference model, asked asynchronously."""

from collections.abc import Sequence

from anyio.lowlevel import checkpoint

from fakes.leadership import MemoryLeadership
from fakes.model import ModelStore
from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt, Report
from taskyard.core.changes import Change
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    PlaneId,
    Term,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.scheduling.requirements import ReadyTask, requirements_of
from taskyard.core.states import ENDED_ATTEMPT, AttemptState, TaskState
from taskyard.ports.dispatching import (
    LEASE_S,
    Backlog,
    Holder,
    PlacedAttempt,
    Placement,
    Running,
    WorkerLease,
    WorkerRecord,
)


class MemoryDispatch:
    """Implements ``ports.dispatching.DispatchStore``."""

    def __init__(self, model: ModelStore, leadership: MemoryLeadership) -> None:
        self._model = model
        self._leadership = leadership

    async def backlogs(self) -> list[Backlog]:
        """See the port."""
        await checkpoint()
        return list(self._model.backlogs())

    async def counts(self) -> dict[tuple[WorkspaceName, TaskState], int]:
        """See the port."""
        await checkpoint()
        totals: dict[tuple[WorkspaceName, TaskState], int] = {}
        for task in self._model.tasks.values():
            key = (task.workspace, task.state)
            totals[key] = totals.get(key, 0) + 1
        return totals

    async def ready(
        self,
        workspace: WorkspaceName,
        group: GroupName,
        after: tuple[int, int] | None,
        limit: int,
    ) -> list[ReadyTask]:
        """See the port."""
        await checkpoint()
        queue = self._model.ready(workspace, group)
        if after is not None:
            queue = [task for task in queue if task.rank > (-after[0], after[1])]
        return queue[:limit]

    async def place(
        self, placements: Sequence[Placement], now: Instant
    ) -> tuple[list[PlacedAttempt], list[Change]]:
        """See the port."""
        await checkpoint()
        for one in placements:
            self._leadership.check(one.term)
        return self._model.place(placements, now)

    async def apply(
        self,
        reports: Sequence[Report],
        now: Instant,
        chances: Sequence[float],
        worker_id: WorkerId | None = None,
    ) -> tuple[list[Change], list[LeaseToken]]:
        """See the port."""
        await checkpoint()
        return self._model.apply(reports, now, chances, worker_id)

    async def next_due(self) -> Instant | None:
        """See the port."""
        await checkpoint()
        return self._model.next_due()

    async def due(self, now: Instant, limit: int, term: Term | None = None) -> list[Change]:
        """See the port."""
        await checkpoint()
        self._leadership.check(term)
        return self._model.due(now, limit)

    async def join(self, worker: WorkerRecord, lease_s: float = LEASE_S) -> list[Attempt]:
        """See the port."""
        await checkpoint()
        return self._model.join(worker, lease_s)

    async def describe(self, worker: WorkerRecord) -> bool:
        """See the port."""
        await checkpoint()
        return self._model.describe(worker)

    async def renew(
        self, holders: Sequence[Holder], now: Instant, lease_s: float = LEASE_S
    ) -> frozenset[WorkerId]:
        """See the port."""
        await checkpoint()
        return self._model.renew(holders, now, lease_s)

    async def leases(self) -> list[WorkerLease]:
        """See the port."""
        await checkpoint()
        return self._model.leases()

    async def lose(
        self,
        worker_id: WorkerId,
        incarnation: IncarnationId,
        now: Instant,
        *,
        term: Term | None = None,
        only_expired: bool = False,
    ) -> list[Change]:
        """See the port."""
        await checkpoint()
        self._leadership.check(term)
        return self._model.lose(worker_id, incarnation, now, only_expired=only_expired)

    async def workers(self) -> list[WorkerRecord]:
        """See the port."""
        await checkpoint()
        return [self._model.workers[name] for name in sorted(self._model.workers)]

    async def is_drained(self, worker_id: WorkerId) -> bool:
        """See the port."""
        await checkpoint()
        found = self._model.workers.get(worker_id)
        return found is not None and found.draining

    async def set_draining(
        self, worker_id: WorkerId, *, draining: bool, audit: AuditEntry | None = None
    ) -> WorkerRecord:
        """See the port."""
        await checkpoint()
        record = self._model.set_draining(worker_id, draining=draining)
        if audit is not None:
            self._model.audit.append(audit)
        return record

    async def running(self) -> list[Running]:
        """See the port."""
        await checkpoint()
        specs = {task.id: task.spec for task in self._model.tasks.values()}
        found = [(attempt, specs[attempt.task_id]) for attempt in self._model.running()]
        return [Running(attempt, spec.group, requirements_of(spec)) for attempt, spec in found]

    async def plane_of(self, attempt_id: AttemptId) -> PlaneId | None:
        """See the port."""
        await checkpoint()
        attempt = self._model.held.get(attempt_id)
        if attempt is None:
            return None
        has_output = attempt.stdout.stored_bytes + attempt.stderr.stored_bytes > 0
        if attempt.state in ENDED_ATTEMPT and not has_output:
            return None
        return self._model.workers[attempt.worker_id].plane_id

    async def holder_of(self, attempt_id: AttemptId) -> WorkerId | None:
        """See the port."""
        await checkpoint()
        attempt = self._model.held.get(attempt_id)
        if attempt is None or attempt.state is AttemptState.LOST:
            return None
        return attempt.worker_id

    async def prune(
        self, now: Instant, older_than: Instant | None, keep_count: int | None, limit: int
    ) -> tuple[int, list[AttemptId]]:
        """See the port."""
        await checkpoint()
        surplus = self._model.prune_count(now, older_than, keep_count)
        gone: list[int] = []
        for workspace in sorted(surplus):
            gone += self._model.oldest_ended(workspace)[: surplus[workspace]]
        gone = gone[:limit]
        return len(gone), list(self._model.pruned(set(gone)))
