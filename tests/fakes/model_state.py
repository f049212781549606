"""What the reference model of the store holds, how it is looked at, and how it moves."""

from collections import Counter
from collections.abc import Callable
from uuid import UUID, uuid5

from msgspec.structs import replace

from fakes.leadership import real_now
from fakes.model_values import deliveries_of, matches, number_of, stored_demand
from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Attempt, Ended
from taskyard.core.changes import Change, Event
from taskyard.core.cron import firings_due
from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.outcome import verdict
from taskyard.core.scheduling.requirements import ReadyTask, requirements_of
from taskyard.core.states import (
    ENDED_ATTEMPT,
    TERMINAL,
    WAITING,
    Reason,
    TaskEvent,
    TaskState,
    next_task_state,
)
from taskyard.core.tasks import NewTask, Task
from taskyard.ports.dispatching import Backlog, WorkerRecord
from taskyard.ports.store import TaskQuery
from taskyard.ports.workspaces import GroupRecord

FIRINGS_AT_ONCE = 100


class ModelState:
    """Plain dictionaries; every query a scan."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.queued_at: dict[int, Instant | None] = {}
        self.failures: dict[int, int] = {}
        self.events: dict[int, list[Event]] = {}
        self.held: dict[AttemptId, Attempt] = {}
        self.output: dict[tuple[AttemptId, str], bytes] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.leases_until: dict[str, Instant] = {}
        self.store_now: Callable[[], Instant] = real_now
        """The store's own clock."""
        self.settings: dict[tuple[WorkspaceName, GroupName], GroupRecord] = {}
        self.audit: list[AuditEntry] = []
        """What was stored along with what it tells of."""
        self.last_seq = 0

    def restart(self) -> None:
        """What a store that is opened again forgets."""
        self.last_seq = max(self.tasks, default=0)

    # -- looking -----------------------------------------------------------------------------

    def find(self, workspace: WorkspaceName, task_id: TaskId) -> Task:
        """Raises ``NotFound``."""
        for task in self.tasks.values():
            if task.id == task_id and task.workspace == workspace:
                return task
        raise NotFound("task", task_id)

    def attempts(self, seq: int) -> list[Attempt]:
        """First to last."""
        task_id = self.tasks[seq].id
        return sorted((a for a in self.held.values() if a.task_id == task_id), key=number_of)

    def matching(self, query: TaskQuery) -> list[Task]:
        """All tasks that a query describes, in its order, whatever its limit."""
        found = [task for task in self.tasks.values() if matches(task, query)]
        found.sort(key=lambda task: task.seq, reverse=not query.oldest_first)
        return found

    def counts(self) -> Counter[tuple[str, str, str]]:
        """By workspace, group and state."""
        return Counter((t.workspace, t.spec.group, t.state.value) for t in self.tasks.values())

    def ready(self, workspace: WorkspaceName, group: GroupName) -> list[ReadyTask]:
        """In the order in which they go."""
        found = [
            self._ready(task)
            for task in self.tasks.values()
            if task.state is TaskState.QUEUED
            and (task.workspace, task.spec.group) == (workspace, group)
        ]
        return sorted(found, key=lambda task: task.rank)

    def backlogs(self) -> set[Backlog]:
        """Sizes of the queues."""
        sizes = Counter(
            (t.workspace, t.spec.group) for t in self.tasks.values() if t.state is TaskState.QUEUED
        )
        return {Backlog(*key, total) for key, total in sizes.items()}

    def running(self) -> list[Attempt]:
        """All that has not ended."""
        return [a for a in self.held.values() if a.state not in ENDED_ATTEMPT]

    def next_due(self) -> Instant | None:
        """When time next changes anything."""
        moments = [
            moment
            for task in self.tasks.values()
            if task.state in WAITING
            for moment in (
                task.start_at if task.state is not TaskState.QUEUED else None,
                task.spec.expires_at,
            )
            if moment is not None
        ]
        return min(moments, default=None)

    # -- inside ------------------------------------------------------------------------------

    def _ended(self, workspace: WorkspaceName) -> list[tuple[Instant, int]]:
        return sorted(
            (task.finished_at, task.seq)
            for task in self.tasks.values()
            if task.workspace == workspace and task.finished_at is not None
        )

    def _insert(self, new: NewTask, actor: str | None, detail: str | None) -> int:
        self.last_seq += 1
        seq = self.last_seq
        self.tasks[seq] = Task(
            seq=seq,
            id=new.id,
            workspace=new.workspace,
            spec=new.spec,
            state=new.state,
            created_at=new.created_at,
            start_at=new.start_at,
            schedule_id=new.schedule_id,
            due_at=new.due_at,
            retry_of=new.retry_of,
        )
        self.queued_at[seq] = new.created_at if new.state is TaskState.QUEUED else None
        self.failures[seq] = 0
        self.events[seq] = []
        self._tell(seq, "submitted", new.created_at, None, actor, detail)
        return seq

    def _remove(self, seq: int) -> list[AttemptId]:
        removed = [attempt.id for attempt in self.attempts(seq)]
        for attempt_id in removed:
            del self.held[attempt_id]
        self.output = {key: data for key, data in self.output.items() if key[0] not in removed}
        del self.tasks[seq], self.queued_at[seq], self.failures[seq], self.events[seq]
        return removed

    def _tell(
        self,
        seq: int,
        kind: str,
        at: Instant,
        attempt_id: AttemptId | None = None,
        actor: str | None = None,
        detail: str | None = None,
    ) -> None:
        events = self.events[seq]
        events.append(Event(len(events) + 1, kind, at, attempt_id, actor, detail))

    def _ready(self, task: Task) -> ReadyTask:
        return ReadyTask(
            task.seq,
            task.id,
            task.workspace,
            task.spec.group,
            task.spec.priority,
            stored_demand(task.spec),
            self.queued_at[task.seq] or Instant(0),
            task.spec.expires_at,
        )

    def _unmoved(self, task: Task, kind: str, now: Instant) -> Change:
        ready = None
        if task.state is TaskState.QUEUED:
            ready = replace(
                self._ready(task),
                queued_at=task.created_at,
                requirements=requirements_of(task.spec),
            )
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
            ready=ready,
        )

    def _move(
        self,
        task: Task,
        event: TaskEvent,
        kind: str,
        now: Instant,
        *,
        start_at: Instant | None = None,
        reason: Reason | None = None,
        message: str | None = None,
        failed: bool = False,
        attempt: Attempt | None = None,
        actor: str | None = None,
    ) -> Change:
        state = next_task_state(task.state, event)
        self.queued_at[task.seq] = now if state is TaskState.QUEUED else None
        self.failures[task.seq] += failed
        moved = replace(
            task,
            state=state,
            start_at=start_at,
            current_attempt=None,
            finished_at=now if state in TERMINAL else None,
            reason=reason,
            message=message,
            kill_requested_at=None,
        )
        self.tasks[task.seq] = moved
        attempt_id = attempt.id if attempt is not None else None
        self._tell(task.seq, kind, now, attempt_id, actor, message)
        ready = None
        if state is TaskState.QUEUED:
            ready = replace(self._ready(moved), requirements=requirements_of(task.spec))
        return Change(
            kind=kind,
            at=now,
            task_id=task.id,
            seq=task.seq,
            workspace=task.workspace,
            group=task.spec.group,
            state=state,
            was=task.state,
            attempt_id=attempt_id,
            attempt_number=attempt.number if attempt is not None else None,
            reason=reason,
            message=message,
            deliveries=deliveries_of(task, kind),
            ready=ready,
        )

    def _end(
        self, attempt: Attempt, task: Task, ended: Ended, now: Instant, chance: float
    ) -> Change:
        self.held[attempt.id] = replace(
            attempt,
            state=ended.state,
            started_at=attempt.started_at if attempt.started_at is not None else ended.started_at,
            finished_at=ended.at,
            exit_code=ended.exit_code,
            signal=ended.signal,
            reason=ended.reason,
            message=ended.message,
            kill_report=ended.kill_report,
            usage=ended.usage,
            confinement=ended.confinement or attempt.confinement,
            stdout=ended.stdout,
            stderr=ended.stderr,
        )
        for stream, data in ended.inline_output.items():
            self.output[attempt.id, stream] = data
        decided = verdict(
            ended,
            task.spec,
            attempt_number=attempt.number,
            failures_before=self.failures[task.seq],
            kill_requested=task.kill_requested_at is not None,
            now=now,
            chance=chance,
        )
        return self._move(
            task,
            decided.event,
            decided.kind,
            now,
            start_at=decided.start_at,
            reason=decided.reason,
            message=decided.message,
            failed=decided.failed,
            attempt=attempt,
        )

    def _fire(self, task: Task, due_at: Instant, now: Instant) -> list[Change]:
        spec = task.spec
        owed, next_at = firings_due(
            spec.cron or "", spec.timezone, due_at, now, spec.catch_up, FIRINGS_AT_ONCE
        )
        single = replace(spec, cron=None, start_at=None, idempotency_key=None)
        changes = []
        for moment in owed:
            if any((t.schedule_id, t.due_at) == (task.id, moment) for t in self.tasks.values()):
                continue
            new = NewTask(
                id=TaskId(str(uuid5(UUID(task.id), str(moment)))),
                workspace=task.workspace,
                spec=single,
                state=TaskState.QUEUED,
                created_at=now,
                schedule_id=task.id,
                due_at=moment,
            )
            seq = self._insert(new, None, f"firing of {task.id}")
            changes.append(
                Change(
                    kind="fired",
                    at=now,
                    task_id=new.id,
                    seq=seq,
                    workspace=new.workspace,
                    group=single.group,
                    state=new.state,
                    ready=replace(
                        self._ready(self.tasks[seq]), requirements=requirements_of(single)
                    ),
                )
            )
        if next_at is not None:
            self.tasks[task.seq] = replace(task, start_at=next_at)
        else:
            changes.append(
                self._move(
                    task,
                    TaskEvent.EXPIRE,
                    "expired",
                    now,
                    reason=Reason.EXPIRED,
                    message="has no further firing",
                )
            )
        return changes
