"""One plan's way through the heads: which workspace goes next, and which of its tasks.

Tasks with a placement policy stand apart from the others of their workspace. Which workers will do
has to be found out for them, and that is paid from the workspace's steps; once those are used up,
its tasks with policies wait for the next plan, and nobody else does.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import heappop
from typing import Final

from taskyard.core.ids import WorkspaceName
from taskyard.core.scheduling.candidates import Candidates
from taskyard.core.scheduling.pools import PlacementClass
from taskyard.core.scheduling.queues import Queue, QueueEntry, QueueKey, Workspace
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.rule_budget import OutOfSteps

LANES: Final = 128
"""Different policies of one workspace that one plan considers; the next one takes others."""


class Round:
    """The state of one scheduling round: what has been considered so far."""

    def __init__(
        self,
        queues: Mapping[QueueKey, Queue],
        workspaces: Mapping[WorkspaceName, Workspace],
        candidates: Candidates,
        look_past: int,
    ) -> None:
        """``look_past`` heads without room are passed over in a workspace, of either kind."""
        self.candidates = candidates
        self._queues = queues
        self._workspaces = workspaces
        self._look_past = look_past
        self._looked: Counter[tuple[WorkspaceName, bool]] = Counter()
        self._turns: dict[WorkspaceName, list[PlacementClass]] = {}
        """The classes that are considered, of those workspaces that have too many."""
        self._out: set[WorkspaceName] = set()
        """Workspaces that have no steps left."""

    @property
    def unfinished(self) -> frozenset[WorkspaceName]:
        """Workspaces whose tasks could not all be considered; the next plan continues with them."""
        return frozenset(self._out.union(self._turns))

    def next_workspace(self) -> WorkspaceName | None:
        """The one with the fewest running attempts, then the one served longest ago."""
        best: tuple[int, int] | None = None
        choice: WorkspaceName | None = None
        for name, workspace in self._workspaces.items():
            if not (workspace.heaps or workspace.apart) or workspace.at_limit():
                continue
            share = (workspace.running, workspace.served)
            if (best is None or share < best) and self.top(name):
                best, choice = share, name
        return choice

    def passed(self, name: WorkspaceName, placement_class: PlacementClass) -> None:
        """A head of this placement class found no room."""
        self._looked[name, placement_class.apart] += 1

    def out_of_steps(self, name: WorkspaceName) -> None:
        """The workspace's budget for rules is spent for this plan."""
        self._out.add(name)

    def top(self, name: WorkspaceName) -> list[QueueEntry]:
        """The heap whose head goes first, of the open classes; empty if there is none."""
        workspace, best = self._workspaces[name], list[QueueEntry]()
        if self._looked[name, False] <= self._look_past:
            for placement_class in list(workspace.heaps):
                heap = self._cleaned(workspace.heaps, placement_class)
                if (
                    heap
                    and (not best or heap[0] < best[0])
                    and self.candidates.is_open(placement_class, name)
                ):
                    best = heap
        if workspace.apart and self._looked[name, True] <= self._look_past:
            for placement_class in self._considered(name, workspace):
                heap = self._cleaned(workspace.apart, placement_class)
                if (
                    heap
                    and (not best or heap[0] < best[0])
                    and self._may_open(name, placement_class)
                ):
                    best = heap
        return best

    def known_top(self, name: WorkspaceName) -> bool:
        """Whether a workspace has a head that may go somewhere, as far as that is known already.

        For those who only ask whether they come first, so that nobody pays for their question.
        """
        workspace = self._workspaces[name]
        return any(
            self._cleaned(workspace.heaps, placement_class)
            and self.candidates.is_open(placement_class, name)
            for placement_class in list(workspace.heaps)
        ) or any(
            self._cleaned(workspace.apart, placement_class)
            and self.candidates.is_known_open(placement_class)
            for placement_class in list(_first(workspace.apart, LANES))
        )

    def passed_over(self, task: ReadyTask) -> int:
        """How many heads of its kind and workspace go before a task and find no room.

        Counted until it is known that there are more than are passed over. Raises
        :class:`OutOfSteps`.
        """
        count = 0
        for place, key in self._heads(
            task.workspace, apart=self.candidates.placement_class_of(task).apart
        ):
            head = self._queues[key].window[0][1]
            if place < task.turn and self.candidates.choose(head) is None:
                count += 1
                if count > self._look_past:
                    break
        return count

    def holds(self, entry: QueueEntry) -> bool:
        """Whether an entry of a heap still stands for its queue's head."""
        turn, key = entry
        queue = self._queues.get(key)
        return queue is not None and queue.in_heap == turn

    def _heads(self, name: WorkspaceName, *, apart: bool) -> Iterator[QueueEntry]:
        """Heads of the classes that are open."""
        workspace = self._workspaces[name]
        heaps = workspace.apart if apart else workspace.heaps
        for placement_class in list(_first(heaps, LANES)) if apart else list(heaps):
            if self.candidates.is_open(placement_class, name):
                yield from (entry for entry in set(heaps[placement_class]) if self.holds(entry))

    def _cleaned(
        self, heaps: dict[PlacementClass, list[QueueEntry]], placement_class: PlacementClass
    ) -> list[QueueEntry]:
        """A placement class's heap with its head on top; empty if there is none."""
        heap = heaps.get(placement_class)
        if heap is None:
            return []
        while heap and not self.holds(heap[0]):
            heappop(heap)
        if not heap:
            del heaps[placement_class]
        return heap

    def _considered(self, name: WorkspaceName, workspace: Workspace) -> list[PlacementClass]:
        found = self._turns.get(name)
        if found is None:
            found = list(_first(workspace.apart, LANES))
            if len(workspace.apart) > LANES:
                self._turns[name] = found
                workspace.put_last(found)
        return found

    def _may_open(self, name: WorkspaceName, placement_class: PlacementClass) -> bool:
        if name in self._out:
            return self.candidates.is_known_open(placement_class)
        try:
            return self.candidates.is_open(placement_class, name)
        except OutOfSteps:
            self._out.add(name)
            workspace = self._workspaces[name]
            workspace.put_last(_until(workspace.apart, placement_class))
            return False


def _first(
    heaps: Mapping[PlacementClass, list[QueueEntry]], count: int
) -> Iterator[PlacementClass]:
    for number, placement_class in enumerate(heaps):
        if number >= count:
            return
        yield placement_class


def _until(
    heaps: Mapping[PlacementClass, list[QueueEntry]], end: PlacementClass
) -> list[PlacementClass]:
    """Lanes in front of one, which shall be the first to be asked the next time."""
    found: list[PlacementClass] = []
    for placement_class in _first(heaps, LANES):
        if placement_class == end:
            return found
        found.append(placement_class)
    return []
