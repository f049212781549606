"""A bounded window onto what is ready, and what runs of it.

Of every queue (workspace and group) the first few tasks, of every workspace a heap of its queues'
heads: so a decision costs the same whether a thousand or a million tasks wait.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from heapq import heappush
from typing import Final

from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.scheduling.pools import PoolIndex, Pools
from taskyard.core.scheduling.queues import Queue, QueueEntry, QueueKey, Workspace
from taskyard.core.scheduling.requirements import ReadyTask

WINDOW: Final = 128
"""Tasks of one queue held in memory at most."""
SLACK: Final = 64
"""Void entries that a heap may hold beyond one for each queue."""


class ReadyWindow:
    """What is ready and what runs, kept current from the changes that are fed in."""

    def __init__(self, pools: Pools | None = None) -> None:
        self._pools = pools or Pools()
        self._queues: dict[QueueKey, Queue] = {}
        self._workspaces: dict[WorkspaceName, Workspace] = {}
        self._starved: dict[QueueKey, Queue] = {}
        self._stuck: dict[int, ReadyTask] = {}
        """Heads that found no room in the last plans, by ``seq``."""
        self._limits: dict[WorkspaceName, int] = {}

    def add(self, task: ReadyTask) -> None:
        """A task became ready. Adding one twice changes nothing."""
        key = QueueKey(task.workspace, task.group)
        queue = self._queue(key)
        entry = (task.rank, task)
        window = queue.window
        if queue.more and (not window or entry[0] > window[-1][0]):
            queue.skipped += 1
            if not window:
                self._starved[key] = queue
                queue.miss(entry, WINDOW)
            return
        if not window or entry[0] > window[-1][0]:
            window.append(entry)
        elif any(rank == entry[0] for rank, _ in window):
            return
        else:
            insort(window, entry, key=_rank)
        if len(window) > WINDOW:
            window.pop()
            queue.more = True
            queue.skipped += 1
        self._offer(key, queue)

    def remove(self, workspace: WorkspaceName, group: GroupName, seq: int) -> None:
        """A task is not ready any more (cancelled, expired, put off); unknown ones are ignored."""
        key = QueueKey(workspace, group)
        self._stuck.pop(seq, None)
        queue = self._queues.get(key)
        if queue is None:
            return
        queue.window = [entry for entry in queue.window if entry[0][1] != seq]
        queue.missed = [entry for entry in queue.missed if entry[0][1] != seq]
        self._settle(key, queue)

    def reread(self, key: QueueKey) -> None:
        """What is known of this queue may be wrong: forget it and read it again."""
        queue = self._queue(key)
        for _, task in queue.window:
            self._stuck.pop(task.seq, None)
        queue.window = []
        queue.more = True
        queue.skipped += 1
        self._settle(key, queue)

    def expect(self, key: QueueKey, queued: int) -> None:
        """The store holds this many ready tasks of the queue: read it again if fewer are known."""
        queue = self._queue(key)
        if not queue.more and len(queue.window) < queued:
            self.reread(key)

    def starved(self) -> list[tuple[QueueKey, int]]:
        """Queues whose window ran dry while the store holds more; each with a mark for refill."""
        return [(key, queue.skipped) for key, queue in self._starved.items()]

    def refill(
        self, key: QueueKey, mark: int, tasks: Sequence[ReadyTask], *, complete: bool
    ) -> None:
        """Tasks read from the store, first to last, in answer to :meth:`starved`.

        ``complete`` says that the store held no more than these when it was read.
        """
        queue = self._queue(key)
        # What is known ends where the read or the missed ones were cut off: whatever ranks behind
        # that may rank behind tasks that are in the store alone.
        edges = [] if complete or not tasks else [tasks[-1].rank]
        edges += [] if queue.edge is None else [queue.edge]
        edge = min(edges, default=None)
        window = queue.window + queue.missed
        known = {seq for (_, seq), _ in window}
        window.extend((task.rank, task) for task in tasks if task.seq not in known)
        window.sort(key=_rank)
        queue.window = [entry for entry in window[:WINDOW] if edge is None or entry[0] <= edge]
        queue.missed, queue.edge = [], None
        queue.more = not complete or queue.skipped != mark or len(queue.window) < len(window)
        if queue.window or not queue.more:
            self._starved.pop(key, None)
        self._settle(key, queue)

    def began(self, key: QueueKey, pool: PoolIndex | None = None) -> None:
        """An attempt of this queue holds room that no plan of ours gave it (after a restart)."""
        self._pools.began(pool)
        queue = self._queue(key)
        queue.running += 1
        self._workspace(key.workspace).running += 1
        self._settle(key, queue)

    def ended(self, key: QueueKey, pool: PoolIndex | None = None) -> None:
        """An attempt of this queue released its capacity, or a planned one did not start."""
        self._pools.ended(pool)
        queue = self._queue(key)
        queue.running -= 1
        self._workspace(key.workspace).running -= 1
        self._settle(key, queue)

    def is_paused(self, key: QueueKey) -> bool:
        """Whether a group's tasks may not start until somebody resumes it."""
        queue = self._queues.get(key)
        return queue is not None and queue.paused

    def set_group(self, key: QueueKey, *, paused: bool, limit: int | None) -> None:
        """A group's settings, as stored."""
        queue = self._queue(key)
        queue.paused, queue.limit = paused, limit
        self._settle(key, queue)

    def set_workspaces(self, limits: Mapping[WorkspaceName, int]) -> None:
        """How many attempts of each workspace may run at once; all others have no limit."""
        for name, workspace in self._workspaces.items():
            workspace.limit = limits.get(name)
        self._limits = dict(limits)

    def _queue(self, key: QueueKey) -> Queue:
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue()
        return queue

    def _workspace(self, name: WorkspaceName) -> Workspace:
        workspace = self._workspaces.get(name)
        if workspace is None:
            workspace = self._workspaces[name] = Workspace()
            workspace.limit = self._limits.get(name)
        return workspace

    def _offer(self, key: QueueKey, queue: Queue) -> None:
        """Put the queue's current head on the workspace's heap, if it may start."""
        if not queue.window or queue.blocked():
            queue.in_heap = None
            return
        head = queue.window[0][1]
        if queue.in_heap != head.turn:
            queue.in_heap = head.turn
            placement_class = self._pools.placement_class(
                head.group, head.requirements.runtime, head.requirements.policy
            )
            heap = self._workspace(key.workspace).heap(placement_class)
            heappush(heap, (head.turn, key))
            if len(heap) > 2 * len(self._queues) + SLACK:
                # Void entries, which heads that keep changing would pile up.
                heap[:] = sorted({entry for entry in heap if self._holds(entry)})

    def _settle(self, key: QueueKey, queue: Queue) -> None:
        """Bring heap and bookkeeping in line after any change to a queue."""
        self._offer(key, queue)
        if queue.window:
            return
        if queue.more:
            self._starved[key] = queue
        elif queue.running <= 0 and not queue.paused and queue.limit is None:
            self._queues.pop(key, None)
            self._starved.pop(key, None)

    def _holds(self, entry: QueueEntry) -> bool:
        """Whether an entry of a heap still stands for its queue's head."""
        turn, key = entry
        queue = self._queues.get(key)
        return queue is not None and queue.in_heap == turn


def _rank(entry: tuple[tuple[int, int], ReadyTask]) -> tuple[int, int]:
    return entry[0]
