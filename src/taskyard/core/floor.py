"""The workers as one plan sees them: what is free, which lane may go where, what is kept free."""

from collections.abc import Sequence

from taskyard.core.demand import ReadyTask
from taskyard.core.explain import Wait
from taskyard.core.ids import WorkerId
from taskyard.core.instants import Instant
from taskyard.core.placement import Room, choose_worker, why_nowhere
from taskyard.core.pools import Lane, PoolIndex, Pools


class Floor:
    """All workers that take tasks. Only the plan that it was made for changes it."""

    def __init__(self, rooms: Sequence[Room], pools: Pools) -> None:
        self.free = {room.worker_id: room for room in rooms if room.accepting}
        self.reserved: dict[WorkerId, int] = {}
        """Workers kept free for a task: worker to ``seq``."""
        self._pools = pools
        self._places: dict[Lane, tuple[PoolIndex | None, list[WorkerId]]] = {}

    def lane_of(self, task: ReadyTask) -> Lane:
        """Where a task belongs."""
        return self._pools.lane(task.group, task.demand.runtime)

    def pool_of(self, lane: Lane) -> PoolIndex | None:
        """The pool a lane takes its workers from now; None if it takes them from everywhere."""
        return self._place(lane)[0]

    def is_open(self, lane: Lane) -> bool:
        """Whether a task of this lane may go anywhere at all, room aside."""
        pool, workers = self._place(lane)
        return bool(workers) and not self._pools.is_full(pool)

    def rooms(self, lane: Lane) -> list[Room]:
        """The workers a lane may use now."""
        return [self.free[worker] for worker in self._place(lane)[1]]

    def choose(self, task: ReadyTask) -> Room | None:
        """The worker a task would go to now, if it is open to it."""
        rooms = self.rooms(self.lane_of(task))
        if not task.demand.is_free and self.reserved:
            kept, seq = self.reserved, task.seq
            rooms = [room for room in rooms if kept.get(room.worker_id, seq) == seq]
        return choose_worker(task.demand, rooms)

    def choose_any(self, task: ReadyTask) -> Room | None:
        """The worker it would go to if none were kept free for others."""
        return choose_worker(task.demand, self.rooms(self.lane_of(task)))

    def take(self, task: ReadyTask, room: Room) -> PoolIndex | None:
        """Give a task its room; answers with the pool it counts for."""
        self.free[room.worker_id] = room.minus(task.demand.resources)
        pool = self.pool_of(self.lane_of(task))
        self._pools.began(pool)
        return pool

    def why_closed(self, task: ReadyTask, rooms: Sequence[Room], now: Instant) -> Wait | None:
        """Why a task may not go anywhere, room aside; None if :meth:`is_open` says it may.

        ``rooms`` are all workers, those that are draining as well.
        """
        lane = self.lane_of(task)
        if lane.pools == ():
            return Wait("no_pool", f"no pool takes containers of group {task.group!r}")
        if lane.pools is not None:
            members = {name for index in lane.pools for name in self._pools[index].workers}
            rooms = [room for room in rooms if room.worker_id in members]
            if not rooms:
                return Wait("no_host", "no engine host of the pools that match is here")
        nowhere = why_nowhere(task.demand, rooms, now)
        pool = self.pool_of(lane)
        if nowhere is not None or pool is None or not self._pools.is_full(pool):
            return nowhere
        limit, running = self._pools[pool].max_running, self._pools.running(pool)
        return Wait(
            "pool_limit",
            f"pool {pool + 1} is at its limit of {limit}",
            {"pool": pool + 1, "limit": limit, "running": running},
        )

    def _place(self, lane: Lane) -> tuple[PoolIndex | None, list[WorkerId]]:
        found = self._places.get(lane)
        if found is None:
            found = self._places[lane] = self._find(lane)
        return found

    def _find(self, lane: Lane) -> tuple[PoolIndex | None, list[WorkerId]]:
        if lane.pools is None:
            return None, [name for name, room in self.free.items() if lane.runtime in room.runtimes]
        pool = self._pools.choose(
            lane, lambda name: name in self.free and lane.runtime in self.free[name].runtimes
        )
        if pool is None:
            return None, []
        members = self._pools[pool].workers
        return pool, [
            name
            for name, room in self.free.items()
            if name in members and lane.runtime in room.runtimes
        ]
