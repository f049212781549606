"""The workers as one plan sees them: candidates by placement class, and which are reserved."""

from collections.abc import Iterator
from typing import NamedTuple

from taskyard.core.ids import IncarnationId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.fleet import Fleet, Selector
from taskyard.core.scheduling.placement import (
    Room,
    why_leaving,
    why_no_room,
    why_nowhere,
    why_refused,
)
from taskyard.core.scheduling.pools import PlacementClass, PoolIndex, Pools
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.reasons import Wait
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.rule_budget import EMPTY, ENDLESS, Budget, RuleBudget
from taskyard.core.scheduling.worker_index import WorkerIndex


class OpenWorkers(NamedTuple):
    """Where a placement class may go."""

    pool: PoolIndex | None
    """The pool it takes its workers from; None if it takes them from everywhere, or nowhere."""
    selector: Selector | None
    """None for nowhere."""
    free: WorkerIndex
    whole: WorkerIndex


class Chosen(NamedTuple):
    """One line of a plan."""

    task: ReadyTask
    worker_id: WorkerId
    incarnation: IncarnationId
    pool: PoolIndex | None = None
    """The pool it counts for; to be given back with ``ReadyQueues.ended``."""
    granted: Resources = Resources()
    """What it holds, with the cores it got; to be given back to the fleet."""


_Demand = tuple[PlacementClass, Resources, float | None]
"""What tasks have in common that find room on the same workers."""


class Candidates:
    """A fleet for as long as one plan takes, which does not await anything."""

    def __init__(
        self, fleet: Fleet, pools: Pools, now: Instant, steps: RuleBudget | None = None
    ) -> None:
        """Questions about policies are paid from ``steps``; without, they cost nothing.

        Methods that may ask some raise :class:`OutOfSteps`.
        """
        self.fleet = fleet
        self.now = now
        self._steps = steps
        self.reserved: dict[WorkerId, int] = {}
        """Workers kept free for a task: worker to ``seq``."""
        self._pools = pools
        self._places: dict[PlacementClass, OpenWorkers] = {}
        self._by_rooms: dict[_Demand, Iterator[WorkerId]] = {}
        self._without_room: set[_Demand] = set()
        """What no worker had room for, of tasks without policies. A plan only takes room: there
        will be none later on either, and heads that ask for the same need no search."""

    def placement_class_of(self, task: ReadyTask) -> PlacementClass:
        """Where a task belongs."""
        return self._pools.placement_class(
            task.group, task.requirements.runtime, task.requirements.policy
        )

    def is_open(self, placement_class: PlacementClass, workspace: WorkspaceName) -> bool:
        """Whether a task of this placement class may go anywhere at all, room aside."""
        pool, _, worker_index, _ = self._place(placement_class, workspace)
        return bool(worker_index) and not self._pools.is_full(pool)

    def is_known_open(self, placement_class: PlacementClass) -> bool:
        """The same from what is known already, at no cost; otherwise False."""
        place = self._places.get(placement_class)
        if place is None:
            budget = ENDLESS if self._steps is None or placement_class.where is None else EMPTY
            _, selector = self._way(placement_class)
            if budget is EMPTY and (selector is None or not self.fleet.is_settled(selector)):
                return False
            place = self._places[placement_class] = self._find(placement_class, budget)
        return bool(place.free) and not self._pools.is_full(place.pool)

    def keep(self, task: ReadyTask, before: WorkerId | None) -> None:
        """Keep a worker free for a task that would have room there if nothing else ran.

        The one kept ``before``, if it will still do; otherwise the one with most free memory.
        """
        rooms, budget = self.fleet.rooms, self._budget(task.workspace)
        place = self._place(self.placement_class_of(task), task.workspace)
        worker_index, whole = place.free, place.whole

        def will_do(name: WorkerId) -> bool:
            return (
                name not in self.reserved
                and rooms[name].could_fit(task.requirements)
                and rooms[name].stays_for(task.requirements, self.now)
                and self.fleet.refusal(task, name, budget) is None
            )

        if before is None or before not in worker_index or not will_do(before):
            before = next(filter(will_do, self._by_room(task, worker_index, whole)), None)
            if before is None:
                return
        self.reserved[before] = task.seq

    def _by_room(
        self, task: ReadyTask, free: WorkerIndex, whole: WorkerIndex
    ) -> Iterator[WorkerId]:
        """The workers to keep one of, in order; for tasks that are alike from where the last one
        stopped, since what will not do for one does for none.
        """
        placement_class, resources = self.placement_class_of(task), task.requirements.resources
        if placement_class.apart:
            return free.by_room(whole, resources)
        demand = self._demand(task)
        found = self._by_rooms.get(demand)
        if found is None:
            found = self._by_rooms[demand] = free.by_room(whole, resources)
        return found

    def choose(self, task: ReadyTask) -> Room | None:
        """The worker that a task would go to now; None if there is none."""
        kept = None if task.requirements.is_free else self.reserved
        return self._choose(task, kept)

    def choose_any(self, task: ReadyTask) -> Room | None:
        """The worker it would go to if none were kept free for others."""
        return self._choose(task, None)

    def _choose(self, task: ReadyTask, kept: dict[WorkerId, int] | None) -> Room | None:
        placement_class = self.placement_class_of(task)
        demand = self._demand(task)
        if not placement_class.apart and demand in self._without_room:
            return None
        selector = self._place(placement_class, task.workspace)[1]
        if selector is None:
            return None
        found = self.fleet.choose(task, selector, self.now, kept, self._budget(task.workspace))
        if found is None and not kept and not placement_class.apart:
            self._without_room.add(demand)
        return found

    def _demand(self, task: ReadyTask) -> _Demand:
        asked = task.requirements
        timeout_s = asked.timeout_s if self.fleet.has_leaving else None
        return self.placement_class_of(task), asked.resources, timeout_s

    def take(self, task: ReadyTask, room: Room) -> tuple[PoolIndex | None, Resources]:
        """Give a task its room; answers with the pool it counts for and what it was granted."""
        granted = room.grant(task.requirements.resources)
        self.fleet.take(room.worker_id, QueueKey(task.workspace, task.group), granted)
        pool = self._place(self.placement_class_of(task), task.workspace).pool
        self._pools.began(pool)
        return pool, granted

    def why_closed(self, task: ReadyTask, now: Instant) -> Wait | None:
        """Why a task may not go anywhere, room aside; None if :meth:`is_open` says it may."""
        placement_class, rooms = self.placement_class_of(task), list(self.fleet.rooms.values())
        if placement_class.pools == ():
            return Wait("no_pool", f"no pool takes containers of group {task.group!r}")
        if placement_class.pools is not None:
            members = {
                name for index in placement_class.pools for name in self._pools[index].workers
            }
            rooms = [room for room in rooms if room.worker_id in members]
            if not rooms:
                return Wait("no_host", "no engine host of the pools that match is here")
        nowhere = why_nowhere(task.requirements, rooms, now)
        if nowhere is not None:
            return nowhere
        pool, _, worker_index, _ = self._place(placement_class, task.workspace)
        if pool is not None and self._pools.is_full(pool):
            limit, running = self._pools[pool].max_running, self._pools.running(pool)
            return Wait(
                "pool_limit",
                f"pool {pool + 1} is at its limit of {limit}",
                {"pool": pool + 1, "limit": limit, "running": running},
            )
        if worker_index:
            return None
        everywhere = self._find(placement_class._replace(where=None), self._budget(task.workspace))
        return self._why_refused(task, everywhere.free)

    def why_no_room(self, task: ReadyTask) -> Wait:
        """Why none of the eligible workers has room."""
        worker_index = self._place(self.placement_class_of(task), task.workspace).free
        budget = self._budget(task.workspace)
        taken = [name for name in worker_index if self.fleet.refusal(task, name, budget) is None]
        if not taken:
            return self._why_refused(task, worker_index)
        rooms = [self.fleet.rooms[name] for name in taken]
        staying = [room for room in rooms if room.stays_for(task.requirements, self.now)]
        if not staying:
            return why_leaving(task.requirements, rooms, self.now)
        return why_no_room(task.requirements, staying)

    def _why_refused(self, task: ReadyTask, worker_index: WorkerIndex) -> Wait:
        budget = self._budget(task.workspace)
        texts = {name: self.fleet.refusal(task, name, budget) for name in worker_index}
        return why_refused({name: text for name, text in texts.items() if text is not None})

    def _budget(self, workspace: WorkspaceName) -> Budget:
        return ENDLESS if self._steps is None else self._steps.of(workspace)

    def _place(self, placement_class: PlacementClass, workspace: WorkspaceName) -> OpenWorkers:
        found = self._places.get(placement_class)
        if found is None:
            found = self._places[placement_class] = self._find(
                placement_class, self._budget(workspace)
            )
        return found

    def _find(self, placement_class: PlacementClass, budget: Budget) -> OpenWorkers:
        pool, selector = self._way(placement_class)
        if selector is None:
            return OpenWorkers(None, None, WorkerIndex(), WorkerIndex())
        return OpenWorkers(pool, selector, *self.fleet.worker_indexes(selector, budget))

    def _way(self, placement_class: PlacementClass) -> tuple[PoolIndex | None, Selector | None]:
        """The pool that a placement class takes workers from, and which; None for nowhere."""
        if placement_class.pools is None:
            return None, Selector(placement_class.runtime, None, placement_class.where)
        pool = self._pools.choose(
            placement_class, lambda name: self.fleet.usable(name, placement_class.runtime)
        )
        if pool is None:
            return None, None
        return pool, Selector(
            placement_class.runtime, self._pools[pool].workers, placement_class.where
        )
