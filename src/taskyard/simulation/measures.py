"""What is counted while a simulation runs: waits, room in use, and who had how much of it."""

from array import array
from collections import Counter

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.states import TaskState


class QueueMeasures:
    """Of one workspace's group."""

    __slots__ = ("arrived", "attempts", "ended", "lost", "most_waiting", "waiting", "waits")

    def __init__(self) -> None:
        self.waits = array("q")
        """Microseconds from ready to start, of every attempt."""
        self.arrived = 0
        self.attempts = 0
        self.lost = 0
        """Attempts whose worker was lost."""
        self.ended: Counter[TaskState] = Counter()
        self.waiting = 0
        self.most_waiting = 0


class WorkspaceMeasures:
    """Of one workspace, over time."""

    __slots__ = ("at", "contended_us", "run_us", "run_us_contended", "running", "waiting")

    def __init__(self) -> None:
        self.at = 0
        self.running = 0
        """Attempts that hold room."""
        self.waiting = 0
        self.run_us = 0
        self.contended_us = 0
        """How long it had something waiting."""
        self.run_us_contended = 0
        """Attempts that held room meanwhile, by time."""

    def change(self, at: int, running: int, waiting: int) -> None:
        """Attempts that hold room and tasks that wait changed by so many."""
        passed = at - self.at
        if passed:
            used = self.running * passed
            self.run_us += used
            if self.waiting:
                self.contended_us += passed
                self.run_us_contended += used
            self.at = at
        self.running += running
        self.waiting += waiting


class RoomMeasures:
    """Room that workers offered and room that attempts held, each times microseconds."""

    def __init__(self) -> None:
        self.offered = [0, 0, 0]
        """Slots, thousandths of a core, bytes."""
        self.held = [0, 0, 0]

    def add(self, capacity: Capacity, begin: int, end: int) -> None:
        """A worker was there from one moment to the other."""
        micros = end - begin
        self.offered[0] += capacity.slots * micros
        self.offered[1] += capacity.cpu_millis * micros
        self.offered[2] += capacity.memory_bytes * micros

    def take(self, asked: Resources, begin: int, end: int) -> None:
        """An attempt held its room from one moment to the other."""
        micros = end - begin
        self.held[0] += asked.slots * micros
        self.held[1] += asked.millis * micros
        self.held[2] += (asked.memory_bytes or 0) * micros


class Measures:
    """All of them."""

    def __init__(self, start: Instant, arrivals_end: Instant) -> None:
        self._start = start
        self._arrivals_end = arrivals_end
        self.queues: dict[QueueKey, QueueMeasures] = {}
        self.workspaces: dict[WorkspaceName, WorkspaceMeasures] = {}
        self.room = RoomMeasures()
        """While tasks came."""
        self.room_overall = RoomMeasures()
        self.decisions = 0
        self.rounds = 0
        self.at_once = 0
        """Of the decisions those that needed no round: there was room as the task came."""
        self.deaths = 0

    def offered(self, capacity: Capacity, begin: Instant, end: Instant) -> None:
        """A worker was there from one moment to the other."""
        self.room_overall.add(capacity, begin, end)
        if begin < self._arrivals_end:
            self.room.add(capacity, begin, min(end, self._arrivals_end))

    def held(self, asked: Resources, begin: int, end: Instant) -> None:
        """An attempt held its room from one moment to the other."""
        self.room_overall.take(asked, begin, end)
        if begin < self._arrivals_end:
            self.room.take(asked, begin, min(end, self._arrivals_end))

    def queue(self, key: QueueKey) -> QueueMeasures:
        """One queue's."""
        found = self.queues.get(key)
        if found is None:
            found = self.queues[key] = QueueMeasures()
        return found

    def workspace(self, name: WorkspaceName) -> WorkspaceMeasures:
        """One workspace's."""
        found = self.workspaces.get(name)
        if found is None:
            found = self.workspaces[name] = WorkspaceMeasures()
            found.at = self._start
        return found
