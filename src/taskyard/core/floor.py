"""The workers as one plan sees them: which lane may go where, and what is kept free for whom."""

from taskyard.core.demand import ReadyTask
from taskyard.core.explain import Wait
from taskyard.core.fleet import Fleet, Selector
from taskyard.core.ids import WorkerId
from taskyard.core.instants import Instant
from taskyard.core.ladder import Ladder
from taskyard.core.placement import Room, why_no_room, why_nowhere, why_refused
from taskyard.core.pools import Lane, PoolIndex, Pools
from taskyard.core.queues import QueueKey
from taskyard.core.resources import Resources


class Floor:
    """A fleet for as long as one plan takes, which does not await anything."""

    def __init__(self, fleet: Fleet, pools: Pools) -> None:
        self.fleet = fleet
        self.reserved: dict[WorkerId, int] = {}
        """Workers kept free for a task: worker to ``seq``."""
        self._pools = pools
        self._places: dict[Lane, tuple[PoolIndex | None, Ladder]] = {}

    def lane_of(self, task: ReadyTask) -> Lane:
        """Where a task belongs."""
        return self._pools.lane(task.group, task.demand.runtime, task.demand.policy)

    def is_open(self, lane: Lane) -> bool:
        """Whether a task of this lane may go anywhere at all, room aside."""
        pool, ladder = self._place(lane)
        return bool(ladder) and not self._pools.is_full(pool)

    def able(self, task: ReadyTask) -> list[Room]:
        """Workers not kept for anybody that would have room for a task if nothing else ran."""
        rooms = self.fleet.rooms
        return [
            rooms[name]
            for name in self._place(self.lane_of(task))[1]
            if name not in self.reserved
            and rooms[name].could_fit(task.demand)
            and self.fleet.refusal(task, name) is None
        ]

    def choose(self, task: ReadyTask) -> Room | None:
        """The worker a task would go to now, if it is open to it."""
        kept = None if task.demand.is_free else self.reserved
        return self.fleet.choose(task, self._place(self.lane_of(task))[1], kept)

    def choose_any(self, task: ReadyTask) -> Room | None:
        """The worker it would go to if none were kept free for others."""
        return self.fleet.choose(task, self._place(self.lane_of(task))[1])

    def take(self, task: ReadyTask, room: Room) -> tuple[PoolIndex | None, Resources]:
        """Give a task its room; answers with the pool it counts for and what it was granted."""
        granted = room.grant(task.demand.resources)
        self.fleet.take(room.worker_id, QueueKey(task.workspace, task.group), granted)
        pool = self._place(self.lane_of(task))[0]
        self._pools.began(pool)
        return pool, granted

    def why_closed(self, task: ReadyTask, now: Instant) -> Wait | None:
        """Why a task may not go anywhere, room aside; None if :meth:`is_open` says it may."""
        lane, rooms = self.lane_of(task), list(self.fleet.rooms.values())
        if lane.pools == ():
            return Wait("no_pool", f"no pool takes containers of group {task.group!r}")
        if lane.pools is not None:
            members = {name for index in lane.pools for name in self._pools[index].workers}
            rooms = [room for room in rooms if room.worker_id in members]
            if not rooms:
                return Wait("no_host", "no engine host of the pools that match is here")
        nowhere = why_nowhere(task.demand, rooms, now)
        if nowhere is not None:
            return nowhere
        pool, ladder = self._place(lane)
        if pool is not None and self._pools.is_full(pool):
            limit, running = self._pools[pool].max_running, self._pools.running(pool)
            return Wait(
                "pool_limit",
                f"pool {pool + 1} is at its limit of {limit}",
                {"pool": pool + 1, "limit": limit, "running": running},
            )
        return None if ladder else self._why_refused(task, self._find(lane._replace(where=None))[1])

    def why_no_room(self, task: ReadyTask) -> Wait:
        """Why there is no room on the workers that are in question."""
        ladder = self._place(self.lane_of(task))[1]
        taken = [name for name in ladder if self.fleet.refusal(task, name) is None]
        if not taken:
            return self._why_refused(task, ladder)
        return why_no_room(task.demand, [self.fleet.rooms[name] for name in taken])

    def _why_refused(self, task: ReadyTask, ladder: Ladder) -> Wait:
        return why_refused(
            {name: text for name in ladder if (text := self.fleet.refusal(task, name)) is not None}
        )

    def _place(self, lane: Lane) -> tuple[PoolIndex | None, Ladder]:
        found = self._places.get(lane)
        if found is None:
            found = self._places[lane] = self._find(lane)
        return found

    def _find(self, lane: Lane) -> tuple[PoolIndex | None, Ladder]:
        if lane.pools is None:
            return None, self.fleet.ladder(Selector(lane.runtime, None, lane.where))
        pool = self._pools.choose(lane, lambda name: self.fleet.usable(name, lane.runtime))
        if pool is None:
            return None, Ladder()
        members = self._pools[pool].workers
        return pool, self.fleet.ladder(Selector(lane.runtime, members, lane.where))
