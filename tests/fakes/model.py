"""The reference model of the store: plain dictionaries, every query a scan, every rule spelled out.

Synchronous on purpose: what the real store does in shared transactions has to look as if it had
happened in some order, and this is what happens in an order. Both answer alike, or one is wrong.
"""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID, uuid5

from msgspec.structs import replace

from taskyard.core.attempts import Attempt, Ended, Report, Started
from taskyard.core.changes import Change, Event
from taskyard.core.errors import IllegalTransition, NotFound
from taskyard.core.fairness import ReadyTask
from taskyard.core.ids import AttemptId, GroupName, LeaseToken, TaskId, WorkspaceName
from taskyard.core.instants import Instant, rfc3339
from taskyard.core.outcome import verdict
from taskyard.core.resources import Resources
from taskyard.core.schedule import CatchUp, firings_due
from taskyard.core.states import (
    ENDED_ATTEMPT,
    TERMINAL,
    WAITING,
    AttemptState,
    Reason,
    TaskEvent,
    TaskState,
    next_task_state,
)
from taskyard.core.tasks import NewTask, Task
from taskyard.core.webhooks import events_of_kind
from taskyard.ports.store import (
    Backlog,
    CancelOutcome,
    GroupRecord,
    Placed,
    Placement,
    Submitted,
    TaskQuery,
    WorkerRecord,
)

FIRINGS_AT_ONCE = 100


class ModelStore:
    """All that the store ports promise, without disk, threads or speed."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.queued_at: dict[int, Instant | None] = {}
        self.failures: dict[int, int] = {}
        self.events: dict[int, list[Event]] = {}
        self.held: dict[AttemptId, Attempt] = {}
        self.output: dict[tuple[AttemptId, str], bytes] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.settings: dict[tuple[WorkspaceName, GroupName], GroupRecord] = {}
        self.last_seq = 0

    def restart(self) -> None:
        """What a store that is opened anew forgets."""
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
        return sorted((a for a in self.held.values() if a.task_id == task_id), key=_number)

    def matching(self, query: TaskQuery) -> list[Task]:
        """All tasks that a query describes, in its order, whatever its limit."""
        found = [task for task in self.tasks.values() if _matches(task, query)]
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

    # -- owners ------------------------------------------------------------------------------

    def submit(self, news: Sequence[NewTask], actor: str | None) -> list[Submitted]:
        """All of them, in order."""
        results = []
        for new in news:
            key = new.spec.idempotency_key
            known = next(
                (
                    task
                    for task in self.tasks.values()
                    if key is not None
                    and (task.workspace, task.spec.idempotency_key) == (new.workspace, key)
                ),
                None,
            )
            if known is not None:
                results.append(Submitted(known.id, known.state, known.seq, created=False))
                continue
            seq = self._insert(new, actor, None)
            results.append(Submitted(new.id, new.state, seq, created=True))
        return results

    def cancel(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant, actor: str
    ) -> tuple[list[CancelOutcome], list[Change]]:
        """Outcomes and changes."""
        outcomes, changes = [], []
        for task_id in task_ids:
            try:
                task = self.find(workspace, task_id)
            except NotFound:
                outcomes.append(CancelOutcome(task_id, "unknown"))
                continue
            if task.state in TERMINAL:
                outcomes.append(CancelOutcome(task_id, "ended"))
            elif task.state in WAITING:
                changes.append(
                    self._move(
                        task,
                        TaskEvent.CANCEL,
                        "cancelled",
                        now,
                        reason=Reason.KILLED,
                        message="cancelled" if task.attempt_count else "cancelled before it ran",
                        actor=actor,
                    )
                )
                outcomes.append(CancelOutcome(task_id, "cancelled"))
            else:
                attempt = self.held[task.current_attempt or AttemptId("")]
                if task.kill_requested_at is None:
                    self.tasks[task.seq] = replace(task, kill_requested_at=now)
                    self._tell(task.seq, "kill_requested", now, attempt.id, actor)
                    changes.append(self._unmoved(task, "kill_requested", now))
                spec = task.spec
                outcomes.append(
                    CancelOutcome(task_id, "killing", attempt, spec.kill_signal, spec.kill_grace_s)
                )
        return outcomes, changes

    def set_priority(
        self, workspace: WorkspaceName, task_id: TaskId, priority: int, now: Instant, actor: str
    ) -> list[Change]:
        """One change."""
        task = self.find(workspace, task_id)
        if task.state not in WAITING:
            raise IllegalTransition("task", task.state, "change its priority")
        task2 = replace(task, spec=replace(task.spec, priority=priority))
        self.tasks[task.seq] = task2
        detail = f"{task.spec.priority} to {priority}"
        self._tell(task.seq, "reprioritized", now, None, actor, detail)
        return [self._unmoved(task2, "reprioritized", now)]

    def reschedule(
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
        """One change."""
        task = self.find(workspace, task_id)
        next_task_state(task.state, TaskEvent.RESCHEDULE)
        spec = replace(
            task.spec,
            start_at=None if task.spec.cron else start_at,
            cron=cron or task.spec.cron,
            timezone=timezone or task.spec.timezone,
            catch_up=catch_up or task.spec.catch_up,
        )
        task = replace(task, spec=spec)
        return [
            self._move(
                task, TaskEvent.RESCHEDULE, "rescheduled", now, start_at=start_at, actor=actor
            )
        ]

    def delete(
        self, workspace: WorkspaceName, task_ids: Sequence[TaskId], now: Instant
    ) -> tuple[list[AttemptId], list[Change]]:
        """Whose logs to delete, and the changes."""
        tasks = [self.find(workspace, task_id) for task_id in dict.fromkeys(task_ids)]
        for task in tasks:
            if task.state not in TERMINAL:
                raise IllegalTransition("task", task.state, "be deleted")
        removed = [attempt_id for task in tasks for attempt_id in self._remove(task.seq)]
        return removed, [self._unmoved(task, "deleted", now) for task in tasks]

    # -- the engine --------------------------------------------------------------------------

    def place(
        self, placements: Sequence[Placement], now: Instant
    ) -> tuple[list[Placed], list[Change]]:
        """Those that are still queued, on workers that are still there."""
        placed, changes = [], []
        for one in placements:
            task = self.tasks.get(one.seq)
            worker = self.workers.get(one.worker_id)
            if (
                task is None
                or task.id != one.task_id
                or task.state is not TaskState.QUEUED
                or (task.spec.expires_at is not None and task.spec.expires_at <= now)
                or worker is None
                or worker.incarnation != one.incarnation
                or worker.state != "ready"
            ):
                continue
            task = replace(
                task,
                state=next_task_state(task.state, TaskEvent.ASSIGN),
                current_attempt=one.attempt_id,
                attempt_count=task.attempt_count + 1,
                start_at=None,
                reason=None,
                message=None,
            )
            attempt = Attempt(
                id=one.attempt_id,
                task_id=task.id,
                workspace=task.workspace,
                number=task.attempt_count,
                worker_id=one.worker_id,
                incarnation=one.incarnation,
                lease_token=one.lease_token,
                lease_expires_at=one.lease_expires_at,
                resources=task.spec.resources,
                state=AttemptState.ASSIGNED,
                assigned_at=now,
            )
            self.tasks[task.seq] = task
            self.held[attempt.id] = attempt
            self._tell(task.seq, "assigned", now, attempt.id, detail=f"to {attempt.worker_id}")
            placed.append(Placed(attempt, task))
            changes.append(
                Change(
                    kind="assigned",
                    at=now,
                    task_id=task.id,
                    seq=task.seq,
                    workspace=task.workspace,
                    group=task.spec.group,
                    state=TaskState.RUNNING,
                    was=TaskState.QUEUED,
                    attempt_id=attempt.id,
                    attempt_number=attempt.number,
                )
            )
        return placed, changes

    def apply(
        self, reports: Sequence[Report], now: Instant, chances: Sequence[float]
    ) -> tuple[list[Change], list[LeaseToken]]:
        """Changes, and leases that do not hold."""
        changes, refused = [], []
        for report, chance in zip(reports, chances, strict=True):
            change, holds = self._apply(report, now, chance)
            changes += [change] if change is not None else []
            refused += [] if holds else [report.lease_token]
        return changes, refused

    def _apply(self, report: Report, now: Instant, chance: float) -> tuple[Change | None, bool]:
        attempt = self.held.get(report.attempt_id)
        if attempt is None:
            return None, False
        task = next(task for task in self.tasks.values() if task.id == attempt.task_id)
        ended = attempt.state in ENDED_ATTEMPT
        if report.lease_token == attempt.lease_token:
            if isinstance(report, Ended) and attempt.state is report.state:
                return None, True
            if isinstance(report, Started) and ended and attempt.state is not AttemptState.LOST:
                return None, True
        if report.lease_token != attempt.lease_token or ended:
            what = "an end" if isinstance(report, Ended) else "a start"
            detail = f"late report of {what}: the lease did not hold any more"
            self._tell(task.seq, "refused", now, report.attempt_id, detail=detail)
            return None, False
        if isinstance(report, Ended):
            return self._end(attempt, task, report, now, chance), True
        if attempt.state is AttemptState.RUNNING:
            return None, True
        self.held[attempt.id] = replace(
            attempt, state=AttemptState.RUNNING, started_at=report.at, handle=report.handle
        )
        self._tell(task.seq, "started", report.at, attempt.id)
        return (
            Change(
                kind="started",
                at=report.at,
                task_id=task.id,
                seq=task.seq,
                workspace=task.workspace,
                group=task.spec.group,
                state=TaskState.RUNNING,
                was=TaskState.RUNNING,
                attempt_id=attempt.id,
                attempt_number=attempt.number,
                deliveries=_deliveries(task, "started"),
            ),
            True,
        )

    def due(self, now: Instant, limit: int) -> list[Change]:
        """What time does, by the moment it was to be done."""
        changes = []
        late = [
            (task.spec.expires_at, task.seq)
            for task in self.tasks.values()
            if task.state in WAITING
            and task.spec.expires_at is not None
            and task.spec.expires_at <= now
        ]
        for moment, seq in sorted(late)[:limit]:
            changes.append(
                self._move(
                    self.tasks[seq],
                    TaskEvent.EXPIRE,
                    "expired",
                    now,
                    reason=Reason.EXPIRED,
                    message=f"expired at {rfc3339(moment)}",
                )
            )
        starts = [
            (task.start_at, task.seq)
            for task in self.tasks.values()
            if task.state in {TaskState.SCHEDULED, TaskState.RETRYING}
            and task.start_at is not None
            and task.start_at <= now
        ]
        for due_at, seq in sorted(starts)[:limit]:
            if len(changes) >= limit:
                break
            task = self.tasks[seq]
            if task.spec.cron is not None:
                changes += self._fire(task, due_at, now)
            else:
                changes.append(self._move(task, TaskEvent.DUE, "due", now))
        return changes

    def join(self, worker: WorkerRecord) -> list[Attempt]:
        """What the worker is to hold."""
        self.workers[worker.id] = worker
        for attempt in self.running():
            if attempt.worker_id == worker.id:
                self.held[attempt.id] = replace(attempt, incarnation=worker.incarnation)
        return [a for a in self.running() if a.worker_id == worker.id]

    def renew(self, worker_id: str, incarnation: str, now: Instant, until: Instant) -> bool:
        """Whether it is the present one."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.incarnation != incarnation or worker.state == "lost":
            return False
        self.workers[worker_id] = replace(worker, beat_at=now)
        for attempt in self.running():
            if attempt.worker_id == worker_id:
                self.held[attempt.id] = replace(attempt, lease_expires_at=until)
        return True

    def lose(self, worker_id: str, incarnation: str, now: Instant) -> list[Change]:
        """What becomes of its attempts."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.incarnation != incarnation:
            return []
        self.workers[worker_id] = replace(worker, state="lost")
        changes = []
        for attempt in self.running():
            if attempt.worker_id != worker_id:
                continue
            lost = Ended(
                attempt_id=attempt.id,
                lease_token=attempt.lease_token,
                at=now,
                state=AttemptState.LOST,
                reason=Reason.WORKER_LOST,
                message=f"worker {worker_id} was lost",
            )
            task = next(task for task in self.tasks.values() if task.id == attempt.task_id)
            changes.append(self._end(attempt, task, lost, now, 0.5))
        return changes

    def prune_count(
        self, now: Instant, older_than: Instant | None, keep_count: int | None
    ) -> dict[WorkspaceName, int]:
        """How many ended tasks of each workspace retention does not keep, whatever the limit."""
        surplus = {}
        for workspace in {task.workspace for task in self.tasks.values()}:
            ended = self._ended(workspace)
            by_age = sum(older_than is not None and at < older_than for at, _ in ended)
            by_count = len(ended) - keep_count if keep_count is not None else 0
            by_count = min(by_count, sum(at <= now for at, _ in ended))
            surplus[workspace] = max(by_age, by_count, 0)
        return surplus

    def pruned(self, seqs: set[int]) -> set[AttemptId]:
        """The store says that it removed these; answers with their attempts."""
        return {attempt_id for seq in seqs for attempt_id in self._remove(seq)}

    def oldest_ended(self, workspace: WorkspaceName) -> list[int]:
        """Ended tasks, first ended first."""
        return [seq for _, seq in self._ended(workspace)]

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
        asked = task.spec.resources
        return ReadyTask(
            task.seq,
            task.id,
            task.workspace,
            task.spec.group,
            task.spec.priority,
            Resources(asked.cpu_millis, asked.memory_bytes),
            self.queued_at[task.seq] or Instant(0),
            task.spec.expires_at,
        )

    def _unmoved(self, task: Task, kind: str, now: Instant) -> Change:
        ready = None
        if task.state is TaskState.QUEUED:
            ready = replace(
                self._ready(task), queued_at=task.created_at, resources=task.spec.resources
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
            ready = replace(self._ready(moved), resources=task.spec.resources)
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
            deliveries=_deliveries(task, kind),
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
            stdout=ended.stdout,
            stderr=ended.stderr,
        )
        for stream, data in ended.folded.items():
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
                    ready=replace(self._ready(self.tasks[seq]), resources=single.resources),
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


def _number(attempt: Attempt) -> int:
    return attempt.number


def _matches(task: Task, query: TaskQuery) -> bool:
    spec = task.spec
    command = spec.work.shell if spec.work.shell is not None else " ".join(spec.work.argv)
    texts = (spec.name or "", spec.group, task.id, command)
    wanted = (query.text or "").lower()
    behind = query.after_seq is None or (
        task.seq > query.after_seq if query.oldest_first else task.seq < query.after_seq
    )
    return (
        behind
        and task.workspace == query.workspace
        and (not query.states or task.state in query.states)
        and (query.group is None or spec.group == query.group)
        and all(spec.labels.get(key) == value for key, value in query.labels.items())
        and any(wanted in text.lower() for text in texts)
        and (query.created_after is None or task.created_at >= query.created_after)
        and (query.created_before is None or task.created_at < query.created_before)
        and (query.schedule_id is None or task.schedule_id == query.schedule_id)
    )


def _deliveries(task: Task, kind: str) -> int:
    """Webhook messages that a change gives rise to."""
    events = events_of_kind(kind)
    return sum(event in webhook.events for webhook in task.spec.webhooks for event in events)
