"""Which ready task goes next: fair between workspaces, by priority and age within one.

The state is a bounded window onto what is ready, see :mod:`taskyard.core.scheduling.window`. Sans
I/O: the service feeds changes in and takes plans out.
"""

from heapq import heappop
from typing import Final

from taskyard.core.ids import WorkerId, WorkspaceName
from taskyard.core.instants import Instant, seconds_between
from taskyard.core.scheduling.candidates import Candidates, Chosen
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.pools import Pools
from taskyard.core.scheduling.queues import Queue, QueueKey
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.round import Round
from taskyard.core.scheduling.rule_budget import OutOfSteps, RuleBudget
from taskyard.core.scheduling.window import ReadyWindow

LOOK_PAST: Final = 32
"""Heads without room that are passed over in one workspace before it has to wait."""
RESERVE_AFTER_S: Final = 30.0
"""A head that found no room for so long gets a worker kept free for it."""


class ReadyQueues(ReadyWindow):
    """Decides about what is ready: plans, single placements, and why something waits."""

    def __init__(self, pools: Pools | None = None) -> None:
        super().__init__(pools)
        self._kept: dict[int, WorkerId] = {}
        """Workers kept free by the last plan, which the next one keeps if they will still do."""
        self._served = 0
        self.unfinished: frozenset[WorkspaceName] = frozenset()
        """Workspaces for which the last plan had too few steps; another one goes on with them."""

    def plan(
        self, fleet: Fleet, now: Instant, most: int, steps: RuleBudget | None = None
    ) -> list[Chosen]:
        """Choose up to ``most`` tasks and their workers, count them as running, take their room.

        What has to be found out about policies is paid from ``steps``; those for whom they do not
        suffice wait for the next plan. Without, policies cost nothing.

        A choice that cannot be carried out has to be given back with :meth:`ended`, its room to
        the fleet, and its task with :meth:`add` if it is still ready.
        """
        candidates = Candidates(fleet, self._pools, now, steps)
        self._reserve(candidates, now)
        self._kept = {seq: worker_id for worker_id, seq in candidates.reserved.items()}
        plan = self._give_kept(candidates, now, most)
        passed: list[tuple[QueueKey, Queue]] = []
        turn = Round(self._queues, self._workspaces, candidates, LOOK_PAST)
        name: WorkspaceName | None = None
        while len(plan) < most:
            # Whoever was given nothing is still the one with the fewest.
            heap = turn.top(name) if name is not None else []
            if not heap:
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
                turn.out_of_steps(key.workspace)
            if room is None:
                heappop(heap)
                queue.in_heap = None
                passed.append((key, queue))
                turn.passed(key.workspace, candidates.placement_class_of(task))
                continue
            plan.append(self._give(task, room, candidates))
            name = None
        for key, queue in passed:
            self._settle(key, queue)
        self.unfinished = turn.unfinished
        return plan

    def try_place(
        self, task: ReadyTask, fleet: Fleet, now: Instant, steps: RuleBudget | None = None
    ) -> Chosen | None:
        """Choose a worker for a task about to be stored; None if the task has to queue.

        It need not if there is room for it and nobody waits who might go first. Otherwise as
        :meth:`plan`, which would choose the same once it knew of the task.
        """
        key = QueueKey(task.workspace, task.group)
        queue = self._queues.get(key)
        if queue is not None and (queue.window or queue.more or queue.blocked()):
            return None
        if self._starved or self._workspace(task.workspace).at_limit():
            return None
        candidates = Candidates(fleet, self._pools, now, steps)
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
        candidates = Candidates(fleet, self._pools, now, steps)
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

    def _give_kept(self, candidates: Candidates, now: Instant, most: int) -> list[Chosen]:
        """Those first for whom workers are kept: others may not have that room, and would stand in
        their way.
        """
        given: list[Chosen] = []
        for worker_id, seq in candidates.reserved.items():
            task, kept = self._stuck[seq], candidates.fleet.rooms[worker_id]
            if (
                len(given) < most
                and kept.fits(task.requirements)
                and kept.stays_for(task.requirements, now)
                and self._may_go(task, candidates, now)
            ):
                given.append(self._give(task, kept, candidates))
        return given

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
