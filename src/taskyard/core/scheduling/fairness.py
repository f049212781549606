"""Which ready task goes next: fair between workspaces, by priority and age within one.

The state is a bounded window onto what is ready: of every queue (workspace and group) the first
few tasks, of every workspace a heap of its queues' heads. So one decision costs the same whether
a thousand or a million tasks wait. Sans I/O: the service feeds changes in and takes plans out.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import Final

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.instants import Instant, seconds_between
from taskyard.core.scheduling.candidates import Candidates, Chosen
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.pools import PoolIndex, Pools
from taskyard.core.scheduling.queues import Queue, QueueEntry, QueueKey, Workspace
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.round import Round
from taskyard.core.scheduling.rule_budget import OutOfSteps, RuleBudget

__all__ = ["WINDOW", "Chosen", "QueueKey", "ReadyQueues", "ReadyTask"]

WINDOW: Final = 128
"""Tasks of one queue held in memory at most."""
LOOK_PAST: Final = 32
"""Heads without room that are passed over in one workspace before it has to wait."""
SLACK: Final = 64
"""Void entries that a heap may hold beyond one for each queue."""
RESERVE_AFTER_S: Final = 30.0
"""A head that found no room for so long gets a worker kept free for it."""


class ReadyQueues:
    """All that is ready, as far as the next decisions need to know it."""

    def __init__(self, pools: Pools | None = None) -> None:
        self._pools = pools or Pools()
        self._queues: dict[QueueKey, Queue] = {}
        self._workspaces: dict[WorkspaceName, Workspace] = {}
        self._starved: dict[QueueKey, Queue] = {}
        self._stuck: dict[int, ReadyTask] = {}
        self._kept: dict[int, WorkerId] = {}
        """Workers kept free by the last plan, which the next one keeps if they will still do."""
        self._limits: dict[WorkspaceName, int] = {}
        self._served = 0
        self.unfinished: frozenset[WorkspaceName] = frozenset()
        """Workspaces for which the last plan had too few steps; another one goes on with them."""

    # -- what is ready -----------------------------------------------------------------------

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

    def mark_more(self, key: QueueKey) -> None:
        """The store holds ready tasks of this queue that were never added."""
        queue = self._queue(key)
        queue.more = True
        if not queue.window:
            self._starved[key] = queue

    def reread(self, key: QueueKey) -> None:
        """What is known of this queue may be wrong: forget it, and have it read anew."""
        queue = self._queue(key)
        for _, task in queue.window:
            self._stuck.pop(task.seq, None)
        queue.window = []
        queue.more = True
        queue.skipped += 1
        self._settle(key, queue)

    def expect(self, key: QueueKey, queued: int) -> None:
        """The store holds so many ready tasks of this queue: reread it if we know of fewer."""
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

    # -- what is running ---------------------------------------------------------------------

    def began(self, key: QueueKey, pool: PoolIndex | None = None) -> None:
        """An attempt of this queue holds room that no plan of ours gave it (after a restart)."""
        self._pools.began(pool)
        queue = self._queue(key)
        queue.running += 1
        self._workspace(key.workspace).running += 1
        self._settle(key, queue)

    def ended(self, key: QueueKey, pool: PoolIndex | None = None) -> None:
        """An attempt of this queue gave back its room, or a planned one did not come about."""
        self._pools.ended(pool)
        queue = self._queue(key)
        queue.running -= 1
        self._workspace(key.workspace).running -= 1
        self._settle(key, queue)

    # -- limits ------------------------------------------------------------------------------

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

    # -- decisions ---------------------------------------------------------------------------

    def plan(
        self, fleet: Fleet, now: Instant, most: int, steps: RuleBudget | None = None
    ) -> list[Chosen]:
        """Choose up to ``most`` tasks and their workers, count them as running, take their room.

        What has to be found out about policies is paid from ``steps``; those for whom they do not
        suffice wait for the next plan. Without, policies cost nothing.

        A choice that cannot be carried out has to be given back with :meth:`ended`, its room to
        the fleet, and its task with :meth:`add` if it is still ready.
        """
        candidates = Candidates(fleet, self._pools, steps)
        self._reserve(candidates, now)
        self._kept = {seq: worker_id for worker_id, seq in candidates.reserved.items()}
        plan: list[Chosen] = []
        passed: list[tuple[QueueKey, Queue]] = []
        turn = Round(self._queues, self._workspaces, candidates, LOOK_PAST)
        for worker_id, seq in candidates.reserved.items():
            # First of all, or those who may not have its room would stand in its way.
            task, kept = self._stuck[seq], fleet.rooms[worker_id]
            if (
                len(plan) < most
                and kept.fits(task.requirements)
                and self._may_go(task, candidates, now)
            ):
                plan.append(self._give(task, kept, candidates))
        while len(plan) < most:
            name = turn.next_workspace()
            if name is None:
                break
            heap = turn.top(name)
            key = heap[0][1]
            queue = self._queues[key]
            task = queue.window[0][1]
            if task.expires_at is not None and task.expires_at <= now:
                # It must not start any more; whoever watches the time will see to its end.
                self.remove(key.workspace, key.group, task.seq)
                continue
            try:
                room = candidates.choose(task)
                if room is None and candidates.choose_any(task) is None:
                    self._stuck[task.seq] = task
            except OutOfSteps:
                room = None
                turn.out_of_steps(name)
            if room is None:
                heappop(heap)
                queue.in_heap = None
                passed.append((key, queue))
                turn.passed(name, candidates.placement_class_of(task))
                continue
            plan.append(self._give(task, room, candidates))
        for key, queue in passed:
            self._settle(key, queue)
        self.unfinished = turn.unfinished
        return plan

    def try_place(
        self, task: ReadyTask, fleet: Fleet, now: Instant, steps: RuleBudget | None = None
    ) -> Chosen | None:
        """Choose a worker for a task that is about to be stored; None if it has to wait its turn.

        It need not if there is room for it and nobody waits who might go first. Otherwise as
        :meth:`plan`, which would choose the same once it knew of the task.
        """
        key = QueueKey(task.workspace, task.group)
        queue = self._queues.get(key)
        if queue is not None and (queue.window or queue.more or queue.blocked()):
            return None
        if self._starved or self._workspace(task.workspace).at_limit():
            return None
        candidates = Candidates(fleet, self._pools, steps)
        turn = Round(self._queues, self._workspaces, candidates, LOOK_PAST)
        for name, other in self._workspaces.items():
            if not other.at_limit() and turn.known_top(name):
                return None
        if task.expires_at is not None and task.expires_at <= now:
            return None
        try:
            if not candidates.is_open(candidates.placement_class_of(task), task.workspace):
                return None
            room = candidates.choose(task)
        except OutOfSteps:
            return None
        return None if room is None else self._count(task, room, candidates)

    def explain(
        self, task: ReadyTask, fleet: Fleet, now: Instant, steps: RuleBudget | None = None
    ) -> Wait:
        """Why a ready task was not chosen, by the same rules in the same order."""
        try:
            return self._explain(task, fleet, now, steps)
        except OutOfSteps:
            return Wait(
                "evaluating",
                "its placement policy is still being evaluated: "
                f"workspace {task.workspace!r} has used up its share of that for the moment",
            )

    def _explain(
        self, task: ReadyTask, fleet: Fleet, now: Instant, steps: RuleBudget | None
    ) -> Wait:
        key = QueueKey(task.workspace, task.group)
        queue = self._queues.get(key) or Queue()
        workspace = self._workspace(task.workspace)
        if queue.paused:
            return Wait("group_paused", f"group {task.group!r} is paused")
        if queue.blocked():
            return Wait(
                "group_limit",
                f"group {task.group!r} is at its limit of {queue.limit}",
                {"limit": queue.limit, "running": queue.running},
            )
        if workspace.at_limit():
            return Wait(
                "workspace_limit",
                f"workspace {task.workspace!r} is at its limit of {workspace.limit}",
                {"limit": workspace.limit, "running": workspace.running},
            )
        candidates = Candidates(fleet, self._pools, steps)
        closed = candidates.why_closed(task, now)
        if closed is not None:
            return closed
        self._reserve(candidates, now)
        if candidates.choose(task) is None:
            room = candidates.choose_any(task)
            if room is None:
                return candidates.why_no_room(task)
            return Wait(
                "reserved_for_other",
                f"worker {room.worker_id} is kept free for a larger task that waits longer",
                {"worker": room.worker_id},
            )
        if queue.window and queue.window[0][0] < task.rank:
            return Wait("behind", f"others of group {task.group!r} go first")
        turn = Round(self._queues, self._workspaces, candidates, LOOK_PAST)
        if task.seq not in candidates.reserved.values() and turn.passed_over(task) > LOOK_PAST:
            return Wait(
                "behind",
                f"more than {LOOK_PAST} other groups of workspace {task.workspace!r} go first, "
                "and find no room",
            )
        if task.requirements.policy is not None and task.workspace in self.unfinished:
            raise OutOfSteps
        return Wait("starting", "is about to be placed on a worker")

    # -- inside ------------------------------------------------------------------------------

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
        """Have the workspace's heap know this queue's present head, if it may go."""
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

    def _give(self, task: ReadyTask, room: Room, candidates: Candidates) -> Chosen:
        """Count a head as running on a worker."""
        self._queue(QueueKey(task.workspace, task.group)).window.pop(0)
        self._stuck.pop(task.seq, None)
        return self._count(task, room, candidates)

    def _count(self, task: ReadyTask, room: Room, candidates: Candidates) -> Chosen:
        """Count a task as running on a worker."""
        key = QueueKey(task.workspace, task.group)
        queue, workspace = self._queue(key), self._workspace(task.workspace)
        queue.running += 1
        workspace.running += 1
        self._served += 1
        workspace.served = self._served
        pool, granted = candidates.take(task, room)
        self._settle(key, queue)
        return Chosen(task, room.worker_id, room.incarnation, pool, granted)

    def _may_go(self, task: ReadyTask, candidates: Candidates, now: Instant) -> bool:
        """Whether only room keeps a task waiting: room kept free for any other would be wasted."""
        queue = self._queues.get(QueueKey(task.workspace, task.group))
        try:
            return (
                queue is not None
                and not queue.blocked()
                and bool(queue.window)
                and queue.window[0][1].seq == task.seq
                and not self._workspace(task.workspace).at_limit()
                and (task.expires_at is None or task.expires_at > now)
                and candidates.is_open(candidates.placement_class_of(task), task.workspace)
            )
        except OutOfSteps:
            return False

    def _reserve(self, candidates: Candidates, now: Instant) -> None:
        """Keep workers free for heads that found no room for long."""
        for seq, task in sorted(self._stuck.items()):
            if seconds_between(task.queued_at, now) < RESERVE_AFTER_S or not self._may_go(
                task, candidates, now
            ):
                continue
            before = self._kept.get(seq)
            try:
                candidates.keep(task, before)
            except OutOfSteps:
                if before in candidates.fleet.rooms and before not in candidates.reserved:
                    candidates.reserved[before] = seq


def _rank(entry: tuple[tuple[int, int], ReadyTask]) -> tuple[int, int]:
    return entry[0]
