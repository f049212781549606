"""The loop: takes what happens next, lets the scheduler decide, and sees to what follows."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from taskyard.core.attempts import Ended
from taskyard.core.ids import AttemptId, LeaseToken
from taskyard.core.instants import Instant, from_datetime
from taskyard.core.outcome import verdict
from taskyard.core.scheduling.candidates import Chosen
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.states import TERMINAL, AttemptState, Reason, TaskEvent, TaskState
from taskyard.services.scheduling.cluster_state import Reservation
from taskyard.simulation.agenda import Agenda, Event
from taskyard.simulation.errors import TooLarge
from taskyard.simulation.fleet import SimulatedFleet, Step
from taskyard.simulation.measures import Measures
from taskyard.simulation.scenario import USUAL, Limits, Scenario
from taskyard.simulation.scheduler import SimulatedScheduler
from taskyard.simulation.tasks import TaskTable
from taskyard.simulation.workload import Kind, Source

WATCHED_EVERY: Final = 4096
"""Events from one look of whoever watches to the next."""
EVENTS_PER_TASK: Final = 100
"""Events, for each task or worker that is allowed, after which a simulation is given up."""
_NO_LEASE: Final = LeaseToken("")

Watch = Callable[[float, int, int], None]
"""Told the seconds simulated so far, the tasks that came, and those that ended."""


class Simulator:
    """One run of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        sources: Sequence[Source],
        limits: Limits = USUAL,
        watch: Watch | None = None,
    ) -> None:
        """Prepare; ``watch`` is called now and then."""
        self.scenario = scenario
        self._start = self.now = from_datetime(scenario.start)
        self._until = Instant(self._start + scenario.until.micros)
        self._sources = sources
        self._kinds: list[Kind] = [source.kind for source in sources]
        self._arrivals: list[Iterator[Instant]] = [source.arrivals() for source in sources]
        self._watch = watch
        self._events_left = EVENTS_PER_TASK * (limits.tasks + limits.workers)
        self.tasks = TaskTable(limits.tasks)
        self.agenda = Agenda()
        arrivals_end = Instant(self._start + scenario.duration.micros)
        self.measures = Measures(self._start, arrivals_end)
        self.scheduler = SimulatedScheduler(
            scenario,
            sources,
            self.tasks,
            self.agenda,
            self.measures,
            lambda: self.now,
        )
        self.fleet = SimulatedFleet(
            scenario,
            self.scheduler.cluster,
            self.agenda,
            self.measures,
            self._start,
            self._lost,
            self.scheduler.wake,
        )
        self.ended = 0
        """Tasks that are over."""
        self.waiting: dict[QueueKey, tuple[int, Wait]] = {}
        """What is left at the end, and why."""
        self._coming = 0
        for number in range(len(sources)):
            self._expect(number, 0)

    @property
    def passed_us(self) -> int:
        """Time simulated so far."""
        return self.now - self._start

    def run(self) -> None:
        """Until nothing is left to do, or the scenario's end. Raises :class:`TooLarge`."""
        agenda, scheduler = self.agenda, self.scheduler
        while self._coming or self.ended < len(self.tasks):
            at = agenda.next_at()
            if at is None:
                break
            if at > self._until:
                self.now = self._until
                break
            self.now = at
            # All of one moment first: a scheduler that wakes sees all that is there.
            while agenda.next_at() == at:
                self._happen()
            if scheduler.wants_round:
                plan, begins = scheduler.round()
                for chosen in plan:
                    self._begin(chosen, begins, was_queued=True)
        self._close()

    def _happen(self) -> None:
        self._events_left -= 1
        if self._events_left <= 0:
            raise TooLarge(
                "the simulation was given up: more and more happens, and little of it is work; "
                "have workers fail less often, or shorten it with until"
            )
        if self._watch is not None and not self._events_left % WATCHED_EVERY:
            self._watch(self.passed_us / 1e6, len(self.tasks), self.ended)
        _, _, event, first, second, third = self.agenda.pop()
        match event:
            case Event.END:
                self._end(first, second)
            case Event.ARRIVAL:
                self._arrive(first, second)
            case Event.COMMITTED:
                self.scheduler.committed()
            case Event.WAKE:
                self.scheduler.wake()
            case Event.DUE:
                self.tasks.move(first, TaskEvent.DUE)
                self._ready(first)
            case Event.EXPIRY:
                self._expire(first)
            case Event.WORKER:
                self.fleet.step(first, second, Step(third), self.now)

    def _expect(self, source: int, index: int) -> None:
        at = next(self._arrivals[source], None)
        if at is not None:
            self._coming += 1
            self.agenda.add(at, Event.ARRIVAL, source, index)

    def _arrive(self, source: int, index: int) -> None:
        self._coming -= 1
        kind = self._kinds[source]
        seq = self.tasks.add(source, index, self.now)
        measures = self.measures.queue(kind.key)
        measures.arrived += 1
        if kind.expires_us is not None:
            self.agenda.add(Instant(self.now + kind.expires_us), Event.EXPIRY, seq)
        placed = self.scheduler.submit(seq)
        if placed is None:
            self._count_waiting(kind, 1)
        else:
            self._begin(*placed, was_queued=False)
        self._expect(source, index + 1)

    def _begin(self, chosen: Chosen, begins: Instant, *, was_queued: bool) -> None:
        seq, tasks = chosen.task.seq, self.tasks
        source = tasks.source[seq]
        kind = self._kinds[source]
        tasks.move(seq, TaskEvent.ASSIGN)
        tasks.attempts[seq] += 1
        number = tasks.attempts[seq]
        tasks.placed_at[seq] = self.now
        self.scheduler.took(chosen, _attempt_id(seq, number), was_queued=was_queued)
        measures = self.measures.queue(kind.key)
        measures.attempts += 1
        measures.waits.append(begins - tasks.ready_at[seq])
        if was_queued:
            self._count_waiting(kind, -1)
        self.measures.workspace(kind.key.workspace).change(self.now, 1, 0)
        course = self._sources[source].course(tasks.index[seq], number)
        self.agenda.add(Instant(begins + course.micros), Event.END, seq, number)

    def _end(self, seq: int, number: int) -> None:
        """An attempt ran its course, unless its worker was gone before."""
        held = self.scheduler.cluster.held_by(_attempt_id(seq, number))
        if held is None or self.fleet.died_at(held.worker_id) is not None:
            return
        course = self._sources[self.tasks.source[seq]].course(self.tasks.index[seq], number)
        self._over(seq, number, course.state, course.reason)

    def _lost(self, attempt_id: AttemptId) -> None:
        """An attempt's worker is gone."""
        seq, _, number = attempt_id.partition(".")
        kind = self._kinds[self.tasks.source[int(seq)]]
        self.measures.queue(kind.key).lost += 1
        self._over(int(seq), int(number), AttemptState.LOST, Reason.WORKER_LOST)

    def _over(self, seq: int, number: int, state: AttemptState, reason: Reason | None) -> None:
        tasks, source = self.tasks, self.tasks.source[seq]
        kind, attempt_id = self._kinds[source], _attempt_id(seq, number)
        held = self.scheduler.free(attempt_id)
        if held is not None:
            self._count_held(seq, held)
            self.measures.workspace(kind.key.workspace).change(self.now, -1, 0)
        judged = verdict(
            Ended(attempt_id, _NO_LEASE, self.now, state, reason=reason),
            kind.spec,
            attempt_number=number,
            failures_before=tasks.failures[seq],
            kill_requested=False,
            now=self.now,
            chance=self._sources[source].jitter(tasks.index[seq], number),
        )
        if judged.failed:
            tasks.failures[seq] += 1
        now_is = tasks.move(seq, judged.event)
        if now_is in TERMINAL:
            self._finish(kind, now_is)
        elif now_is is TaskState.QUEUED:
            self._ready(seq)
        elif judged.start_at is not None:
            self.agenda.add(judged.start_at, Event.DUE, seq)

    def _ready(self, seq: int) -> None:
        """A task that was tried before is queued again, unless it must not begin any more."""
        tasks = self.tasks
        kind = self._kinds[tasks.source[seq]]
        if kind.expires_us is not None and tasks.arrived_at[seq] + kind.expires_us <= self.now:
            self._finish(kind, tasks.move(seq, TaskEvent.EXPIRE))
            return
        tasks.ready_at[seq] = self.now
        self.scheduler.ready(seq)
        self._count_waiting(kind, 1)

    def _expire(self, seq: int) -> None:
        state = self.tasks.states[seq]
        if state is TaskState.QUEUED:
            kind = self._kinds[self.tasks.source[seq]]
            self._finish(kind, self.tasks.move(seq, TaskEvent.EXPIRE))
            self.scheduler.withdraw(seq)
            self._count_waiting(kind, -1)

    def _finish(self, kind: Kind, state: TaskState) -> None:
        self.measures.queue(kind.key).ended[state] += 1
        self.ended += 1

    def _count_waiting(self, kind: Kind, change: int) -> None:
        measures = self.measures.queue(kind.key)
        measures.waiting += change
        measures.most_waiting = max(measures.most_waiting, measures.waiting)
        self.measures.workspace(kind.key.workspace).change(self.now, 0, change)

    def _count_held(self, seq: int, held: Reservation) -> None:
        """An attempt had its room until now, or for as long as its worker lived."""
        died_at, placed_at = self.fleet.died_at(held.worker_id), self.tasks.placed_at[seq]
        end = self.now if died_at is None else died_at
        if placed_at < end:
            self.measures.held(held.resources, placed_at, end)

    def _close(self) -> None:
        """Count what goes on, and ask why the rest waits."""
        self.fleet.close(self.now)
        for seq, state in enumerate(self.tasks.states):
            if state is TaskState.RUNNING:
                attempt_id = _attempt_id(seq, self.tasks.attempts[seq])
                held = self.scheduler.cluster.held_by(attempt_id)
                if held is not None:
                    self._count_held(seq, held)
        for workspace in self.measures.workspaces.values():
            workspace.change(self.now, 0, 0)
        self.waiting = self.scheduler.waiting()


def _attempt_id(seq: int, number: int) -> AttemptId:
    return AttemptId(f"{seq}.{number}")
