"""The users' side of tasks, on SQLite: submit, list, cancel, reschedule, delete."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt
from taskyard.core.changes import Change, Event
from taskyard.core.cron import CatchUp
from taskyard.core.errors import Conflict, IllegalTransition, NotFound, TaskyardError
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.states import TERMINAL, WAITING, Reason, TaskEvent, TaskState, next_task_state
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import Placement
from taskyard.ports.store import CancelOutcome, Submitted, TaskPage, TaskQuery
from taskyard.store.sql.access import append_audit
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.locks import lock_tasks
from taskyard.store.sql.rows import UNREADABLE, attempt_of, shown_task, text
from taskyard.store.sql.submits import Submit, Submits, known_by
from taskyard.store.sql.task_list import list_tasks
from taskyard.store.sql.transactions import Repository, writes
from taskyard.store.sql.transitions import StoredTask, ready, stored_task_of, transition
from taskyard.store.sql.webhooks import forget

_DELETE_ORDER: Final = ("delete_events", "delete_labels", "delete_inline_output")


class SqlTasks(Repository):
    """Implements ``ports.store.TaskStore``."""

    @writes
    async def submit(self, tasks: Sequence[NewTask], actor: str | None) -> list[Submitted]:
        """See the port."""
        return await self._session.gather(self.submit_all, Submit(tasks, actor))

    @writes
    async def submit_placed(
        self, task: NewTask, actor: str | None, placement: Placement
    ) -> Submitted:
        """See the port."""
        submit = Submit((task,), actor, placement)
        (stored,) = await self._session.gather(self.submit_all, submit)
        return stored

    def submit_all(
        self, connection: Connection, submits: Sequence[Submit]
    ) -> list[list[Submitted] | TaskyardError]:
        """Store all submits of a batch, inside a transaction."""
        return Submits(connection, self._session).store(submits)

    async def task(self, workspace: WorkspaceName, task_id: TaskId) -> Task:
        """See the port."""
        return await self._session.read(lambda connection: find(connection, workspace, task_id))

    async def task_by_key(self, workspace: WorkspaceName, key: str) -> Task:
        """See the port."""

        def read(connection: Connection) -> Task:
            known = known_by(connection, (workspace, key))
            if known is None:
                raise NotFound("task", key)
            return find(connection, workspace, known.task_id)

        return await self._session.read(read)

    async def list_tasks(self, query: TaskQuery) -> TaskPage:
        """See the port."""
        return await self._session.read(lambda connection: list_tasks(connection, query))

    async def counts(
        self, workspace: WorkspaceName, group: GroupName | None = None
    ) -> dict[TaskState, int]:
        """See the port."""
        sql = "tasks.counts_of_workspace" if group is None else "tasks.counts_of_group"
        parameters = {"workspace": workspace, "group_name": group}
        rows = await self._session.read(lambda c: c.execute(sql, parameters).fetchall())
        return {TaskState(state): total for state, total in rows if total}

    async def attempts(self, workspace: WorkspaceName, task_id: TaskId) -> list[Attempt]:
        """See the port."""

        def read(connection: Connection) -> list[Attempt]:
            task = find(connection, workspace, task_id)
            rows = connection.execute("tasks.attempts_of_task", {"seq": task.seq})
            return [attempt_of(row) for row in rows]

        return await self._session.read(read)

    async def attempt(self, workspace: WorkspaceName, attempt_id: AttemptId) -> Attempt:
        """See the port."""
        row = await self._session.read(
            lambda c: c.execute("tasks.attempt_by_id", {"id": attempt_id}).fetchone()
        )
        if row is None or row[2] != workspace:
            raise NotFound("attempt", attempt_id)
        return attempt_of(row)

    async def events(
        self, workspace: WorkspaceName, task_id: TaskId, after: int, limit: int
    ) -> list[Event]:
        """See the port."""

        def read(connection: Connection) -> list[Event]:
            task = find(connection, workspace, task_id)
            parameters = {"seq": task.seq, "after": after, "limit": limit}
            return [Event(*row) for row in connection.execute("tasks.events_of_task", parameters)]

        return await self._session.read(read)

    @writes
    async def cancel(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[CancelOutcome], list[Change]]:
            changes: list[Change] = []
            lock_tasks(connection, task_ids)
            outcomes = [
                self.cancel_one(connection, workspace, task_id, now, actor, changes)
                for task_id in task_ids
            ]
            return outcomes, changes

        return await self._session.write_urgently(write)

    def cancel_one(
        self,
        connection: Connection,
        workspace: WorkspaceName,
        task_id: TaskId,
        now: Instant,
        actor: str,
        changes: list[Change],
    ) -> CancelOutcome:
        """Cancel a waiting task, or mark a running one, inside a transaction."""
        lock_tasks(connection, [task_id])
        try:
            task = find(connection, workspace, task_id)
        except NotFound:
            return CancelOutcome(task_id, "unknown")
        if task.state in TERMINAL:
            return CancelOutcome(task_id, "ended")
        if task.state in WAITING:
            changes.append(
                transition(
                    connection,
                    self._session.counts,
                    _mover(task),
                    TaskEvent.CANCEL,
                    "cancelled",
                    now,
                    reason=Reason.KILLED,
                    message="cancelled before it ran" if not task.attempt_count else "cancelled",
                    actor=actor,
                )
            )
            return CancelOutcome(task_id, "cancelled")
        if task.kill_requested_at is None:
            connection.execute("tasks.request_kill", {"seq": task.seq, "now": now})
            self._session.counts.event(task.seq, "kill_requested", now, task.current_attempt, actor)
            change = _unmoved(task, "kill_requested", now)
            self._session.counts.announce(change)
            changes.append(change)
        row = connection.execute("tasks.attempt_by_id", {"id": task.current_attempt}).fetchone()
        return CancelOutcome(
            task_id, "killing", attempt_of(row), task.spec.kill_signal, task.spec.kill_grace_s
        )

    @writes
    async def set_priority(
        self, workspace: WorkspaceName, task_id: TaskId, priority: int, now: Instant, actor: str
    ) -> list[Change]:
        """See the port."""

        def write(connection: Connection) -> list[Change]:
            lock_tasks(connection, [task_id])
            task = find(connection, workspace, task_id)
            if task.state not in WAITING:
                raise IllegalTransition("task", task.state, "change its priority")
            connection.execute("tasks.set_priority", {"seq": task.seq, "priority": priority})
            self._session.counts.event(
                task.seq,
                "reprioritized",
                now,
                actor=actor,
                detail=f"{task.spec.priority} to {priority}",
            )
            spec = msgspec.structs.replace(task.spec, priority=priority)
            change = _unmoved(msgspec.structs.replace(task, spec=spec), "reprioritized", now)
            self._session.counts.announce(change)
            return [change]

        return await self._session.write(write)

    @writes
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

        def write(connection: Connection) -> list[Change]:
            lock_tasks(connection, [task_id])
            task = find(connection, workspace, task_id)
            next_task_state(task.state, TaskEvent.RESCHEDULE)
            if task.spec.work == UNREADABLE:
                raise Conflict("what is stored of this task cannot be read; cancel it")
            spec = msgspec.structs.replace(
                task.spec,
                start_at=None if task.spec.cron else start_at,
                starts_after_wait=False,
                cron=cron or task.spec.cron,
                timezone=timezone or task.spec.timezone,
                catch_up=catch_up or task.spec.catch_up,
            )
            connection.execute("tasks.set_schedule", {"seq": task.seq, "spec": text(spec)})
            return [
                transition(
                    connection,
                    self._session.counts,
                    _mover(task),
                    TaskEvent.RESCHEDULE,
                    "rescheduled",
                    now,
                    start_at=start_at,
                    actor=actor,
                )
            ]

        return await self._session.write(write)

    @writes
    async def delete(
        self,
        workspace: WorkspaceName,
        task_ids: Sequence[TaskId],
        now: Instant,
        audit: Sequence[AuditEntry] = (),
    ) -> tuple[list[AttemptId], list[Change]]:
        """See the port."""

        def write(connection: Connection) -> tuple[list[AttemptId], list[Change]]:
            lock_tasks(connection, task_ids)
            tasks = [find(connection, workspace, task_id) for task_id in dict.fromkeys(task_ids)]
            for task in tasks:
                if task.state not in TERMINAL:
                    raise IllegalTransition("task", task.state, "be deleted")
            # Nothing below is refused any more, and what is gathered may be about these tasks.
            self._session.counts.flush(connection)
            attempts: list[AttemptId] = []
            for task in tasks:
                attempts += remove(connection, task.seq)
                self._session.counts.add(workspace, task.spec.group, task.state, -1)
            changes = [_unmoved(task, "deleted", now) for task in tasks]
            for change in changes:
                self._session.counts.announce(change)
            for entry in audit:
                append_audit(connection, entry)
            return attempts, changes

        return await self._session.write_urgently(write)

    async def inline_output(self, attempt_id: AttemptId, stream: str) -> bytes | None:
        """See the port."""
        parameters = {"attempt_id": attempt_id, "stream": stream}
        row = await self._session.read(
            lambda c: c.execute("tasks.folded_output", parameters).fetchone()
        )
        return row[0] if row is not None else None

    async def ahead_of(self, task: Task, limit: int) -> int:
        """See the port."""
        parameters: dict[str, Any] = {
            "workspace": task.workspace,
            "group_name": task.spec.group,
            "priority": task.spec.priority,
            "seq": task.seq,
            "limit": limit,
        }
        (count,) = await self._session.read(
            lambda c: c.execute("tasks.ahead", parameters).fetchone()
        )
        return int(count)


def find(connection: Connection, workspace: WorkspaceName, task_id: TaskId) -> Task:
    """A workspace's task. Raises ``NotFound``, also for tasks of other workspaces."""
    row = connection.execute("tasks.task_by_id", {"id": task_id}).fetchone()
    if row is None or row[2] != workspace:
        raise NotFound("task", task_id)
    return shown_task(connection, row)


def remove(connection: Connection, seq: int) -> list[AttemptId]:
    """Remove a task with all its rows; returns the attempts whose logs to delete."""
    parameters = {"seq": seq}
    for name in _DELETE_ORDER:
        connection.execute(f"tasks.{name}", parameters)
    connection.execute("lists.delete_entry_of_task", parameters)
    connection.execute("jobs.delete_execution_of_task", parameters)
    connection.execute("functions.delete_results", parameters)
    connection.execute("endpoints.count_removed_call", parameters)
    connection.execute("endpoints.delete_call_of_task", parameters)
    rows = connection.execute("tasks.delete_attempts", parameters).fetchall()
    (task_id,) = connection.execute("tasks.delete_task", parameters).fetchone()
    forget(connection, [TaskId(task_id)])
    return [AttemptId(row[0]) for row in rows]


def _mover(task: Task) -> StoredTask:
    return stored_task_of(
        task.seq, task.id, task.workspace, task.state, task.spec, task.spec.priority
    )


def _unmoved(task: Task, kind: str, now: Instant) -> Change:
    """A change that is not a transition."""
    waiting: ReadyTask | None = None
    if task.state is TaskState.QUEUED:
        waiting = ready(_mover(task), task.created_at)
    return Change(
        kind=kind,
        at=now,
        task_id=task.id,
        seq=task.seq,
        workspace=task.workspace,
        group=task.spec.group,
        state=task.state,
        was=task.state,
        attempt_id=task.current_attempt,
        ready=waiting,
    )
