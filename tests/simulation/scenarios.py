"""Scenarios for tests, and simulations that watch themselves."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from taskyard.core.ids import AttemptId, IncarnationId, WorkerId
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.candidates import Chosen
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.simulation.reading import read_scenario
from taskyard.simulation.report import Result, result_of
from taskyard.simulation.simulator import Simulator
from taskyard.simulation.workload import load_sources

ONE_WORKER: Mapping[str, Any] = {"w": {"cpu": 1, "slots": 1, "memory": "1GiB"}}


def simulator_of(tables: Mapping[str, Any]) -> Simulator:
    """A simulation of these tables that is over."""
    scenario = read_scenario(tables)
    simulator = WatchedSimulator(scenario, load_sources(scenario))
    simulator.run()
    simulator.check_end()
    return simulator


def result(tables: Mapping[str, Any]) -> Result:
    """What came of it."""
    scenario = read_scenario(tables)
    return result_of(simulator_of(tables), "test", {}, scenario, 1.0, 0)


class WatchedSimulator(Simulator):
    """Keeps its own account of what runs where, and fails as soon as a rule is broken."""

    running: dict[int, tuple[int, Chosen]]
    used: dict[tuple[WorkerId, IncarnationId], Counter[str]]

    def _begin(self, chosen: Chosen, begins: Instant, *, was_queued: bool) -> None:
        self.running = getattr(self, "running", {})
        self.used = getattr(self, "used", {})
        seq = chosen.task.seq
        assert seq not in self.running, "a task runs twice"
        super()._begin(chosen, begins, was_queued=was_queued)
        assert begins >= self.tasks.ready_at[seq]
        number = self.tasks.attempts[seq]
        self.running[seq] = number, chosen
        life = chosen.worker_id, chosen.incarnation
        room = self.scheduler.cluster.fleet.rooms[chosen.worker_id]
        assert room.incarnation == chosen.incarnation
        assert room.accepting
        used = self.used.setdefault(life, Counter())
        granted = chosen.granted
        used["slots"] += granted.slots
        used["millis"] += granted.millis
        used["memory"] += granted.memory_bytes or 0
        for core in granted.allotted.cores if granted.allotted is not None else ():
            used[f"core {core}"] += 1
            assert used[f"core {core}"] == 1, "a core is given twice"
        _check_room(used, room.total)
        free = room.free
        assert min(free.slots, free.cpu_millis, free.memory_bytes) >= 0

    def _over(self, seq: int, number: int, state: AttemptState, reason: Reason | None) -> None:
        begun, chosen = self.running.pop(seq)
        assert begun == number, "an attempt ends that is not the current one"
        used = self.used[chosen.worker_id, chosen.incarnation]
        granted = chosen.granted
        used["slots"] -= granted.slots
        used["millis"] -= granted.millis
        used["memory"] -= granted.memory_bytes or 0
        for core in granted.allotted.cores if granted.allotted is not None else ():
            used[f"core {core}"] -= 1
        super()._over(seq, number, state, reason)
        assert self.scheduler.cluster.held_by(AttemptId(f"{seq}.{number}")) is None

    def check_end(self) -> None:
        """Every task ended, runs, waits for its back-off, or is explained."""
        running = getattr(self, "running", {})
        states = Counter(self.tasks.states)
        assert states[TaskState.RUNNING] == len(running) == self.scheduler.cluster.held_count
        assert states[TaskState.QUEUED] == sum(count for count, _ in self.waiting.values())
        assert all(wait.summary and wait.code for _, wait in self.waiting.values())
        left = states[TaskState.RUNNING] + states[TaskState.QUEUED] + states[TaskState.RETRYING]
        assert self.ended == len(self.tasks) - left
        for worker_id, room in self.scheduler.cluster.fleet.rooms.items():
            used = getattr(self, "used", {}).get((worker_id, room.incarnation), Counter())
            assert (used["slots"], used["millis"], used["memory"]) == (
                room.total.slots - room.free.slots,
                room.total.cpu_millis - room.free.cpu_millis,
                room.total.memory_bytes - room.free.memory_bytes,
            )
        for one in self.measures.queues.values():
            assert len(one.waits) == one.attempts
            assert all(wait >= 0 for wait in one.waits)


def _check_room(used: Counter[str], total: Capacity) -> None:
    assert used["slots"] <= total.slots
    assert used["millis"] <= total.cpu_millis
    assert used["memory"] <= total.memory_bytes
