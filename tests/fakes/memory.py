"""The store ports in memory: the reference model, asked asynchronously."""

from collections.abc import Callable, Sequence
from typing import Any

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from fakes.leadership import MemoryLeadership, real_now
from fakes.model import ModelStore
from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt, Report, ran_s
from taskyard.core.changes import Change, Event
from taskyard.core.cron import CatchUp
from taskyard.core.errors import InvalidInput, NotFound
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
from taskyard.core.scheduling.requirements import ReadyTask, requirements_of
from taskyard.core.states import ENDED_ATTEMPT, AttemptState, TaskState
from taskyard.core.tasks import NewTask, Task
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
from taskyard.ports.store import CancelOutcome, Submitted, TaskPage, TaskQuery
from taskyard.ports.workspaces import GroupRecord
from taskyard.store.sql.rows import storable_row


class MemoryTasks:
    """Implements ``ports.store.TaskStore``."""

    def __init__(self, model: ModelStore, leadership: MemoryLeadership) -> None:
        self._model = model
        self._leadership = leadership

    async def submit(self, tasks: Sequence[NewTask], actor: str | None) -> list[Submitted]:
        """See the port."""
        await checkpoint()
        _check_text(tasks)
        return self._model.submit(tasks, actor)

    async def submit_placed(
        self, task: NewTask, actor: str | None, placement: Placement
    ) -> Submitted:
        """See the port."""
        await checkpoint()
        _check_text([task])
        if not self._leadership.leads(placement.term):
            return self._model.submit([task], actor)[0]
        return self._model.submit_placed(task, actor, placement)

    async def task(self, workspace: WorkspaceName, task_id: TaskId) -> Task:
        """See the port."""
        await checkpoint()
        return self._model.find(workspace, task_id)

    async def task_by_key(self, workspace: WorkspaceName, key: str) -> Task:
        """See the port."""
        await checkpoint()
        for task in self._model.tasks.values():
            if (task.workspace, task.spec.idempotency_key) == (workspace, key):
                return task
        raise NotFound("task", key)

    async def list_tasks(self, query: TaskQuery) -> TaskPage:
        """See the port."""
        await checkpoint()
        found = self._model.matching(query)
        page = found[: query.limit]
        ran = {task.id: ran_s(self._model.attempts(task.seq)) for task in page}
        known = {task_id: time_s for task_id, time_s in ran.items() if time_s is not None}
        return TaskPage(page, page[-1].seq if len(found) > query.limit else None, known)

    async def counts(
        self, workspace: WorkspaceName, group: GroupName | None = None
    ) -> dict[TaskState, int]:
        """See the port."""
        await checkpoint()
        totals: dict[TaskState, int] = {}
        for (owner, name, state), total in self._model.counts().items():
            if owner == workspace and group in {None, name}:
                totals[TaskState(state)] = totals.get(TaskState(state), 0) + total
        return totals

    async def attempts(self, workspace: WorkspaceName, task_id: TaskId) -> list[Attempt]:
        """See the port."""
        await checkpoint()
        return self._model.attempts(self._model.find(workspace, task_id).seq)

    async def attempt(self, workspace: WorkspaceName, attempt_id: AttemptId) -> Attempt:
        """See the port."""
        await checkpoint()
        attempt = self._model.held.get(attempt_id)
        if attempt is None or attempt.workspace != workspace:
            raise NotFound("attempt", attempt_id)
        return attempt

    async def events(
        self, workspace: WorkspaceName, task_id: TaskId, after: int, limit: int
    ) -> list[Event]:
        """See the port."""
        await checkpoint()
        return self._model.events[self._model.find(workspace, task_id).seq][after : after + limit]

    async def cancel(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """See the port."""
        await checkpoint()
        return self._model.cancel(workspace, task_ids, now, actor)

    async def set_priority(
        self, workspace: WorkspaceName, task_id: TaskId, priority: int, now: Instant, actor: str
    ) -> list[Change]:
        """See the port."""
        await checkpoint()
        return self._model.set_priority(workspace, task_id, priority, now, actor)

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
        """See the port."""
        await checkpoint()
        return self._model.reschedule(
            workspace, task_id, start_at, now, actor, cron, timezone, catch_up
        )

    async def delete(
        self,
        workspace: WorkspaceName,
        task_ids: Sequence[TaskId],
        now: Instant,
        audit: Sequence[AuditEntry] = (),
    ) -> tuple[list[AttemptId], list[Change]]:
        """See the port."""
        await checkpoint()
        answer = self._model.delete(workspace, task_ids, now)
        self._model.audit += audit
        return answer

    async def inline_output(self, attempt_id: AttemptId, stream: str) -> bytes | None:
        """See the port."""
        await checkpoint()
        return self._model.output.get((attempt_id, stream))

    async def ahead_of(self, task: Task, limit: int) -> int:
        """See the port."""
        await checkpoint()
        rank = (-task.spec.priority, task.seq)
        queue = self._model.ready(task.workspace, task.spec.group)
        return min(limit, sum(one.rank < rank for one in queue))


def _check_text(tasks: Sequence[NewTask]) -> None:
    """No store keeps text that is not valid Unicode, or what no column holds."""
    try:
        for task in tasks:
            storable_row(0, task)
    except UnicodeEncodeError as error:
        raise InvalidInput("", "contains text that is not valid Unicode") from error


class MemoryGroups:
    """Implements ``ports.groups.GroupStore``."""

    def __init__(self, model: ModelStore) -> None:
        self._model = model
        self._workspaces: dict[WorkspaceName, int] = {}

    async def groups(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[GroupRecord]:
        """See the port."""
        await checkpoint()
        names = {name for owner, name in self._model.settings if owner == workspace} | {
            t.spec.group for t in self._model.tasks.values() if t.workspace == workspace
        }
        return [self._record(workspace, name) for name in sorted(names) if name > (after or "")][
            :limit
        ]

    async def group(self, workspace: WorkspaceName, name: GroupName) -> GroupRecord:
        """See the port."""
        await checkpoint()
        return self._record(workspace, name)

    async def set_group(
        self,
        workspace: WorkspaceName,
        name: GroupName,
        *,
        paused: bool | None = None,
        concurrency_limit: int | None = None,
        clear_limit: bool = False,
        audit: AuditEntry | None = None,
    ) -> GroupRecord:
        """See the port."""
        await checkpoint()
        if audit is not None:
            self._model.audit.append(audit)
        old = self._record(workspace, name)
        limit = concurrency_limit if concurrency_limit is not None else old.concurrency_limit
        self._model.settings[workspace, name] = GroupRecord(
            name,
            workspace,
            old.paused if paused is None else paused,
            None if clear_limit else limit,
        )
        return self._record(workspace, name)

    async def set_workspace_limit(
        self, workspace: WorkspaceName, limit: int | None, audit: AuditEntry | None = None
    ) -> None:
        """See the port."""
        await checkpoint()
        if audit is not None:
            self._model.audit.append(audit)
        self._workspaces.pop(workspace, None)
        if limit is not None:
            self._workspaces[workspace] = limit

    async def limits(self) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
        """See the port."""
        await checkpoint()
        limited = [
            record
            for record in self._model.settings.values()
            if record.paused or record.concurrency_limit is not None
        ]
        return dict(self._workspaces), limited

    def _record(self, workspace: WorkspaceName, name: GroupName) -> GroupRecord:
        record = self._model.settings.get((workspace, name), GroupRecord(name, workspace))
        counts = {
            state: total
            for (owner, group, state), total in self._model.counts().items()
            if (owner, group) == (workspace, name)
        }
        return replace(record, counts=counts)


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


class MemoryStore:
    """All of it on one model, in the shape of ``SqliteStore``."""

    def __init__(
        self, model: ModelStore | None = None, now: Callable[[], Instant] = real_now
    ) -> None:
        """Empty, by the clock ``now`` where the port says the store's."""
        self.model = model or ModelStore()
        self.model.store_now = now
        leadership = MemoryLeadership(now)
        self.tasks: Any = MemoryTasks(self.model, leadership)
        self.groups: Any = MemoryGroups(self.model)
        self.dispatch: Any = MemoryDispatch(self.model, leadership)
        self.leadership: Any = leadership

    async def close(self) -> None:
        """Nothing is open."""
