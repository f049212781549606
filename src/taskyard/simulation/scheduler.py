"""The scheduler of a simulation: what ``services.scheduling.dispatch`` does, without a store.

Plans, single placements, what holds which room, and why something waits are decided by the code
that the server runs. Only commits are pretended: they take time, and never fail.
"""

from collections.abc import Callable, Sequence

from taskyard.core.ids import AttemptId, TaskId
from taskyard.core.instants import SECOND, Instant
from taskyard.core.scheduling.candidates import Chosen
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.window import WINDOW
from taskyard.core.states import TaskState
from taskyard.services.scheduling.cluster_state import ClusterState, Reservation
from taskyard.services.scheduling.dispatch import AT_ONCE, STEPS_PAUSE_S
from taskyard.services.scheduling.rule_budget import STEPS_PER_S, RuleBudgetSource
from taskyard.simulation.agenda import Agenda, Event
from taskyard.simulation.backlog import Backlog
from taskyard.simulation.measures import Measures
from taskyard.simulation.scenario import Scenario
from taskyard.simulation.tasks import TaskTable
from taskyard.simulation.workload import Kind, Source

_PAUSE_US = round(STEPS_PAUSE_S * SECOND)


class SimulatedScheduler:
    """Decides by the product's rules; says when what was decided begins."""

    def __init__(
        self,
        scenario: Scenario,
        sources: Sequence[Source],
        tasks: TaskTable,
        agenda: Agenda,
        measures: Measures,
        now: Callable[[], Instant],
    ) -> None:
        self._kinds: list[Kind] = [source.kind for source in sources]
        self._tasks = tasks
        self._agenda = agenda
        self._measures = measures
        self._now = now
        self.cluster = ClusterState(lambda: now() / SECOND)
        per_s = scenario.scheduling.placement_steps or STEPS_PER_S
        self._steps = RuleBudgetSource(per_s, lambda: now() / SECOND)
        self._queues = ReadyQueues()
        self._backlog = Backlog(lambda seq: tasks.states[seq] is TaskState.QUEUED)
        self._commit_us = scenario.scheduling.commit.micros
        self._decision_us = scenario.scheduling.decision.micros
        self._wakes = self._is_committing = False
        limits = {}
        for name, workspace in scenario.workspaces.items():
            if workspace.limit is not None:
                limits[name] = workspace.limit
            for group, settings in workspace.groups.items():
                key = QueueKey(name, group)
                self._queues.set_group(key, paused=settings.paused, limit=settings.limit)
        self._queues.set_workspaces(limits)

    def wake(self) -> None:
        """Something changed that may let a task go."""
        self._wakes = True

    @property
    def wants_round(self) -> bool:
        """Whether there is something to decide, and nobody is deciding."""
        return self._wakes and not self._is_committing

    def submit(self, seq: int) -> tuple[Chosen, Instant] | None:
        """A task comes: its place, and when it begins there; None if it has to queue."""
        now = self._now()
        ready = self._ready(seq)
        chosen = self._queues.try_place(ready, self.cluster.fleet, now, self._steps.now())
        if chosen is None:
            self._queue(ready, self._kinds[self._tasks.source[seq]])
        else:
            self._measures.at_once += 1
            self._measures.decisions += 1
        if chosen is None:
            return None
        return chosen, Instant(now + self._commit_us + self._decision_us)

    def ready(self, seq: int) -> None:
        """A task is ready once more."""
        self._queue(self._ready(seq), self._kinds[self._tasks.source[seq]])

    def withdraw(self, seq: int) -> None:
        """A task is not queued any more."""
        key = self._kinds[self._tasks.source[seq]].key
        self._queues.remove(key.workspace, key.group, seq)
        self._backlog.leave(key)

    def took(self, chosen: Chosen, attempt_id: AttemptId, *, was_queued: bool) -> None:
        """What was chosen holds its room from now on; its task says already that it is placed."""
        key = QueueKey(chosen.task.workspace, chosen.task.group)
        held = Reservation(chosen.worker_id, key, chosen.granted, chosen.pool)
        self.cluster.note(attempt_id, held)
        if was_queued:
            self._backlog.leave(key)

    def free(self, attempt_id: AttemptId) -> Reservation | None:
        """An attempt holds no room any more; None if it held none."""
        held = self.cluster.free(attempt_id)
        if held is not None:
            self._queues.ended(held.key, held.pool)
        self._wakes = True
        return held

    def round(self) -> tuple[list[Chosen], Instant]:
        """Decide; answers with what was chosen, and when it begins."""
        self._wakes = False
        now = self._now()
        for key, mark in self._queues.starved()[:AT_ONCE]:
            found = [self._ready(seq) for seq in self._backlog.first(key, WINDOW)]
            self._queues.refill(key, mark, found, complete=len(found) < WINDOW)
        self._wakes = bool(self._queues.starved())
        plan = self._queues.plan(self.cluster.fleet, now, AT_ONCE, self._steps.now())
        if self._queues.unfinished:
            self._agenda.add(Instant(now + _PAUSE_US), Event.WAKE)
        begins = Instant(now + self._commit_us + self._decision_us * len(plan))
        self._measures.rounds += 1
        if plan:
            self._is_committing = True
            self._agenda.add(begins, Event.COMMITTED)
            self._measures.decisions += len(plan)
        return plan, begins

    def committed(self) -> None:
        """A round is on disk; the next one may begin."""
        self._is_committing = False
        self._wakes = True

    def waiting(self) -> dict[QueueKey, tuple[int, Wait]]:
        """How many wait in each queue, and why the first of them does."""
        found = {}
        for key, count in sorted(self._backlog.counts().items()):
            (seq,) = self._backlog.first(key, 1)
            wait = self._queues.explain(self._ready(seq), self.cluster.fleet, self._now())
            found[key] = count, wait
        return found

    def _queue(self, ready: ReadyTask, kind: Kind) -> None:
        self._backlog.add(kind.key, ready.priority, ready.seq)
        self._queues.add(ready)
        self._wakes = True

    def _ready(self, seq: int) -> ReadyTask:
        tasks = self._tasks
        kind = self._kinds[tasks.source[seq]]
        expires = kind.expires_us
        return ReadyTask(
            seq,
            TaskId(str(seq)),
            kind.key.workspace,
            kind.key.group,
            kind.spec.priority,
            kind.requirements,
            Instant(tasks.ready_at[seq]),
            None if expires is None else Instant(tasks.arrived_at[seq] + expires),
        )
