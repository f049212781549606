"""The store ports in memory: the reference model, asked asynchronously."""

from collections.abc import Callable, Sequence
from typing import Any

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from fakes.leadership import MemoryLeadership, real_now
from fakes.memory_dispatch import MemoryDispatch
from fakes.model import ModelStore
from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt, ran_s
from taskyard.core.changes import Change, Event
from taskyard.core.cron import CatchUp
from taskyard.core.errors import InvalidInput, NotFound
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    TaskId,
    WorkspaceName,
)
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import (
    Placement,
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
