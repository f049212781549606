"""The workers of a simulation: they join, drain, leave, die, are missed, and come back."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.instants import SECOND, Instant
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.ports.dispatching import LEASE_S, WorkerRecord
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.fleet_watch import QUIET_S
from taskyard.simulation.agenda import Agenda, Event
from taskyard.simulation.draws import LIFETIME, TROUBLE, Exponential, key_of, uniform
from taskyard.simulation.measures import Measures
from taskyard.simulation.scenario import Scenario, Workers

_QUIET_US: Final = round(QUIET_S * SECOND)
_LEASE_US: Final = round(LEASE_S * SECOND)


class Step(IntEnum):
    """What happens to a worker."""

    JOIN = 0
    DRAIN = 1
    LEAVE = 2
    """It says good-bye; what it still runs goes elsewhere at once."""
    DIE = 3
    """It falls silent. Nobody knows yet."""
    MISSED = 4
    """It was silent for so long that it gets nothing new."""
    LOST = 5
    """Its lease has run out: what it ran goes elsewhere."""


class _Kind:
    """What workers of one table have in common."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        millis = round(workers.cpu * 1000)
        self.capacity = Capacity(workers.slot_count, millis, int(workers.memory))
        self.runtimes = tuple(workers.runtimes)
        self.topology = _topology(workers)
        self.fails = None if workers.fails is None else Exponential(workers.fails)


class _Worker:
    __slots__ = ("id", "is_dead", "is_here", "key", "kind", "life", "offers_from")

    def __init__(self, name: WorkerId, kind: _Kind, key: int) -> None:
        self.id = name
        self.kind = kind
        self.key = key
        self.life = 0
        self.is_here = False
        self.is_dead = False
        self.offers_from = Instant(0)


class SimulatedFleet:
    """All workers by their numbers, and what will become of them."""

    def __init__(
        self,
        scenario: Scenario,
        cluster: ClusterState,
        agenda: Agenda,
        measures: Measures,
        start: Instant,
        lose: Callable[[AttemptId], None],
        changed: Callable[[], None],
    ) -> None:
        """Prepare, and enter when each joins.

        Args:
            scenario: which workers there are.
            cluster: who is told of them.
            agenda: where their steps are entered.
            measures: where it is counted what they offer.
            start: of the simulation.
            lose: told of each attempt whose worker is gone for good.
            changed: told that there may be room now.
        """
        self._cluster = cluster
        self._agenda = agenda
        self._measures = measures
        self._lose = lose
        self._changed = changed
        self._workers: list[_Worker] = []
        self._died_at: dict[WorkerId, Instant] = {}
        for name, workers in scenario.workers.items():
            kind = _Kind(workers)
            for number in range(workers.count):
                worker_id = WorkerId(name if workers.count == 1 else f"{name}-{number + 1}")
                worker = _Worker(
                    worker_id, kind, key_of(scenario.seed, "worker", name, str(number))
                )
                at = start + workers.joins.micros + workers.over.micros * number // workers.count
                agenda.add(Instant(at), Event.WORKER, len(self._workers), 1, Step.JOIN)
                self._workers.append(worker)

    def died_at(self, worker_id: WorkerId) -> Instant | None:
        """When a worker died, which nobody may know yet: nothing that it ran will end. None if it
        lives.
        """
        return self._died_at.get(worker_id)

    def step(self, number: int, life: int, step: Step, now: Instant) -> None:
        """Something happens to a worker, in that life of it; nothing if that is over."""
        worker = self._workers[number]
        if life != worker.life + (step is Step.JOIN):
            return
        match step:
            case Step.JOIN:
                self._join(number, worker, now)
            case Step.DRAIN if worker.is_here:
                self._cluster.drain(worker.id, draining=True)
            case Step.LEAVE if worker.is_here:
                self._stop_offering(worker, now)
                self._cluster.leave(worker.id)
                self._lose_all(worker)
                self._come_back(number, worker, now)
            case Step.DIE if worker.is_here:
                self._die(number, worker, now)
            case Step.MISSED:
                self._cluster.leave(worker.id)
            case Step.LOST:
                self._lose_all(worker)
            case _:
                pass  # It is dead, which nobody knows.

    def close(self, now: Instant) -> None:
        """The simulation is over: count what those that are here have offered."""
        for worker in self._workers:
            if worker.is_here:
                self._stop_offering(worker, now)

    def _join(self, number: int, worker: _Worker, now: Instant) -> None:
        if worker.is_dead:
            # It comes back before it was given up: joining again gives up its life before.
            self._cluster.leave(worker.id)
            self._lose_all(worker)
        worker.life += 1
        worker.is_here, worker.is_dead, worker.offers_from = True, False, now
        self._died_at.pop(worker.id, None)
        kind, life = worker.kind, worker.life
        workers = kind.workers
        self._cluster.drain(worker.id, draining=False)
        self._cluster.join(
            WorkerRecord(
                worker.id,
                IncarnationId(f"{worker.id}/{life}"),
                worker.id,
                "",
                kind.capacity,
                kind.runtimes,
                now,
                now,
                topology=kind.topology,
                tags=workers.tags,
                metadata=workers.metadata,
            )
        )
        if workers.lifetime is not None:
            stays = max(
                SECOND, round(workers.lifetime.at(uniform(worker.key, life, 0, LIFETIME)) * SECOND)
            )
            self._agenda.add(Instant(now + stays), Event.WORKER, number, life, Step.LEAVE)
            drains = max(0, stays - workers.drain.micros)
            if workers.drain:
                self._agenda.add(Instant(now + drains), Event.WORKER, number, life, Step.DRAIN)
        if kind.fails is not None:
            lives = max(1, round(kind.fails.at(uniform(worker.key, life, 0, TROUBLE)) * SECOND))
            self._agenda.add(Instant(now + lives), Event.WORKER, number, life, Step.DIE)
        self._changed()

    def _die(self, number: int, worker: _Worker, now: Instant) -> None:
        """It falls silent: first it gets nothing new, later what it ran goes elsewhere."""
        self._measures.deaths += 1
        self._stop_offering(worker, now)
        worker.is_dead = True
        self._died_at[worker.id] = now
        for after, step in ((_QUIET_US, Step.MISSED), (_LEASE_US, Step.LOST)):
            self._agenda.add(Instant(now + after), Event.WORKER, number, worker.life, step)
        self._come_back(number, worker, now)

    def _come_back(self, number: int, worker: _Worker, now: Instant) -> None:
        after = worker.kind.workers.back_after
        if after is not None:
            at = Instant(now + after.micros)
            self._agenda.add(at, Event.WORKER, number, worker.life + 1, Step.JOIN)

    def _stop_offering(self, worker: _Worker, now: Instant) -> None:
        self._measures.offered(worker.kind.capacity, worker.offers_from, now)
        worker.is_here = False

    def _lose_all(self, worker: _Worker) -> None:
        for attempt_id in self._cluster.held_on(worker.id):
            self._lose(attempt_id)


def _topology(workers: Workers) -> Topology:
    """Nodes that share the cores and the memory of a machine."""
    cores, count = int(workers.cpu), workers.nodes
    numbers = list(range(cores))
    nodes = tuple(
        NumaNode(
            number,
            tuple(numbers[number * cores // count : (number + 1) * cores // count]),
            int(workers.memory) // count,
        )
        for number in range(count)
    )
    return Topology(nodes)
