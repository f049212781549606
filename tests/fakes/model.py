"""The reference model of the store: plain dictionaries, every query a scan, every rule spelled out.

Synchronous on purpose: what the real store does in shared transactions has to look as if it had
happened in some order, and this is what happens in an order. Both answer alike, or one is wrong.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from fakes.model_state import ModelState
from fakes.model_values import deliveries_of
from taskyard.core.attempts import (
    Attempt,
    Ended,
    Progress,
    Report,
    Started,
    confinement_in,
)
from taskyard.core.changes import Change
from taskyard.core.cron import CatchUp
from taskyard.core.errors import Conflict, IllegalTransition, NotFound
from taskyard.core.ids import AttemptId, LeaseToken, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant, after, rfc3339, seconds_between
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
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import (
    LEASE_S,
    Holder,
    PlacedAttempt,
    Placement,
    WorkerLease,
    WorkerRecord,
)
from taskyard.ports.store import CancelOutcome, Submitted


class ModelStore(ModelState):
    """All that the store ports promise, without disk, threads or speed."""

    # -- owners ------------------------------------------------------------------------------

    def submit(self, news: Sequence[NewTask], actor: str | None) -> list[Submitted]:
        """All of them, in order."""
        results = []
        ids = Counter([*(task.id for task in self.tasks.values()), *(new.id for new in news)])
        for new in news:
            if ids[new.id] > 1 and new.spec.idempotency_key is None:
                raise Conflict(f"there is a task {new.id} already")
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

    def submit_placed(self, new: NewTask, actor: str | None, placement: Placement) -> Submitted:
        """As a submit and a placement that follow one another."""
        (stored,) = self.submit([new], actor)
        if not stored.created:
            return stored
        placed, _ = self.place([replace(placement, seq=stored.seq)], new.created_at)
        return replace(stored, attempt=placed[0].attempt) if placed else stored

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
    ) -> tuple[list[PlacedAttempt], list[Change]]:
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
                resources=task.spec.resources.granted(one.allotted),
                state=AttemptState.ASSIGNED,
                assigned_at=now,
            )
            self.tasks[task.seq] = task
            self.held[attempt.id] = attempt
            self._tell(task.seq, "assigned", now, attempt.id, detail=f"to {attempt.worker_id}")
            placed.append(PlacedAttempt(attempt, task))
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
                    worker_id=attempt.worker_id,
                    resources=attempt.resources,
                )
            )
        return placed, changes

    def apply(
        self,
        reports: Sequence[Report],
        now: Instant,
        chances: Sequence[float],
        worker_id: WorkerId | None = None,
    ) -> tuple[list[Change], list[LeaseToken]]:
        """Changes, and leases that do not hold."""
        changes, refused = [], []
        for report, chance in zip(reports, chances, strict=True):
            attempt = self.held.get(report.attempt_id)
            if worker_id is not None and (attempt is None or attempt.worker_id != worker_id):
                refused.append(report.lease_token)
                continue
            if (
                isinstance(report, Ended)
                and report.started_at is not None
                and attempt is not None
                and attempt.state is AttemptState.ASSIGNED
                and attempt.lease_token == report.lease_token
            ):
                # The end tells the start, too.
                begun = Started(report.attempt_id, report.lease_token, report.started_at)
                change, _ = self._apply(begun, now, chance)
                changes += [change] if change is not None else []
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
        if attempt.state is AttemptState.RUNNING or isinstance(report, Progress):
            return None, True
        self.held[attempt.id] = replace(
            attempt,
            state=AttemptState.RUNNING,
            started_at=report.at,
            handle=report.handle,
            confinement=confinement_in(report.handle),
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
                deliveries=deliveries_of(task, "started"),
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

    def join(self, worker: WorkerRecord, lease_s: float = LEASE_S) -> list[Attempt]:
        """What the worker is to hold."""
        self.leases_until[worker.id] = after(self.store_now(), lease_s)
        before = self.workers.get(worker.id)
        if before is not None and before.draining:
            worker = replace(worker, draining=True, state="draining")
        self.workers[worker.id] = worker
        for attempt in self.running():
            if attempt.worker_id == worker.id:
                self.held[attempt.id] = replace(attempt, incarnation=worker.incarnation)
        return [a for a in self.running() if a.worker_id == worker.id]

    def set_draining(self, worker_id: str, *, draining: bool) -> WorkerRecord:
        """Raises ``NotFound``."""
        worker = self.workers.get(worker_id)
        if worker is None:
            raise NotFound("worker", worker_id)
        state = "draining" if draining else "ready"
        state = "lost" if worker.state == "lost" else state
        self.workers[worker_id] = replace(worker, draining=draining, state=state)
        return self.workers[worker_id]

    def renew(self, holders: Sequence[Holder], now: Instant, lease_s: float) -> frozenset[WorkerId]:
        """Which are the present ones."""
        held = set()
        for worker_id, incarnation in holders:
            worker = self.workers.get(worker_id)
            if worker is None or worker.incarnation != incarnation or worker.state == "lost":
                continue
            self.workers[worker_id] = replace(worker, beat_at=now)
            self.leases_until[worker_id] = after(self.store_now(), lease_s)
            held.add(worker_id)
        return frozenset(held)

    def describe(self, worker: WorkerRecord) -> bool:
        """Whether it is the present one."""
        known = self.workers.get(worker.id)
        if known is None or known.incarnation != worker.incarnation:
            return False
        self.workers[worker.id] = replace(known, statuses=worker.statuses, runtimes=worker.runtimes)
        return True

    def leases(self) -> list[WorkerLease]:
        """All workers with what is left."""
        now = self.store_now()
        return [
            WorkerLease(one, seconds_between(now, self.leases_until[one.id]))
            for _, one in sorted(self.workers.items())
        ]

    def lose(
        self, worker_id: WorkerId, incarnation: str, now: Instant, *, only_expired: bool = False
    ) -> list[Change]:
        """What becomes of its attempts."""
        worker = self.workers.get(worker_id)
        if worker is None or worker.incarnation != incarnation:
            return []
        if only_expired and self.leases_until[worker_id] > self.store_now():
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
