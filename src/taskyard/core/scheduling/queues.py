"""What the scheduler remembers: the window onto one queue, and the order of a workspace's queues.

The parts of :class:`taskyard.core.scheduling.fairness.ReadyQueues`, which alone changes them.
"""

from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple

from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.scheduling.pools import PlacementClass
from taskyard.core.scheduling.requirements import ReadyTask


class QueueKey(NamedTuple):
    """A queue of ready tasks."""

    workspace: WorkspaceName
    group: GroupName


QueueEntry = tuple[tuple[int, int, int], QueueKey]
"""A head in a heap: its turn, and its queue."""


class Queue:
    """One group's window and its limits."""

    __slots__ = (
        "edge",
        "in_heap",
        "limit",
        "missed",
        "more",
        "paused",
        "running",
        "skipped",
        "window",
    )

    def __init__(self) -> None:
        self.window: list[tuple[tuple[int, int], ReadyTask]] = []
        self.more = False
        """The store may hold ready tasks behind the window."""
        self.missed: list[tuple[tuple[int, int], ReadyTask]] = []
        """The first of those that became ready while the window was dry: a refill that is on its
        way may have been read before them, and some of them may go before all it brings."""
        self.edge: tuple[int, int] | None = None
        """Rank behind which the missed ones are not all of them."""
        self.skipped = 0
        """Counts tasks left outside, so that a refill read before one does not miss it."""
        self.running = 0
        self.paused = False
        self.limit: int | None = None
        self.in_heap: tuple[int, int, int] | None = None
        """Turn under which the workspace's heap knows this queue; older entries are void."""

    def blocked(self) -> bool:
        """Whether its tasks may not start now, regardless of free capacity."""
        return self.paused or (self.limit is not None and self.running >= self.limit)

    def miss(self, entry: tuple[tuple[int, int], ReadyTask], most: int) -> None:
        """Remember a task that became ready while the window was dry, if it is among the first."""
        if any(rank == entry[0] for rank, _ in self.missed):
            return
        insort(self.missed, entry, key=lambda one: one[0])
        for rank, _ in self.missed[most:]:
            self.edge = rank if self.edge is None else min(rank, self.edge)
        del self.missed[most:]


class Workspace:
    """One workspace's queues by their heads, its limit and its share."""

    __slots__ = ("apart", "heaps", "limit", "running", "served")

    def __init__(self) -> None:
        self.heaps: dict[PlacementClass, list[QueueEntry]] = {}
        """Heads by placement class: one without open workers is left out as a whole."""
        self.apart: dict[PlacementClass, list[QueueEntry]] = {}
        """The same of tasks with policies; the class that was asked longest ago first."""
        self.running = 0
        self.limit: int | None = None
        self.served = 0
        """When it was last given something, as a count of all that was given."""

    def at_limit(self) -> bool:
        """Whether its tasks may not start now, regardless of free capacity."""
        return self.limit is not None and self.running >= self.limit

    def heap(self, placement_class: PlacementClass) -> list[QueueEntry]:
        """A placement class's heap."""
        return (self.apart if placement_class.apart else self.heaps).setdefault(placement_class, [])

    def put_last(self, placement_classes: Iterable[PlacementClass]) -> None:
        """These classes of tasks with policies have had their turn."""
        for placement_class in placement_classes:
            heap = self.apart.pop(placement_class, None)
            if heap is not None:
                self.apart[placement_class] = heap
