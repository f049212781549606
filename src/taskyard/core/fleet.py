"""All workers that are here, what is free on each, and indexes to find room without a scan."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from taskyard.core.demand import ReadyTask
from taskyard.core.ids import WorkerId
from taskyard.core.ladder import Ladder, TooManyRefused
from taskyard.core.placement import Room
from taskyard.core.policies import Policy, looks_around, most_per_host, refusal
from taskyard.core.queues import QueueKey
from taskyard.core.resources import Resources

_PATIENCE: Final = 32
"""Workers with room that a policy may refuse before an index is made for it."""
_LADDERS: Final = 64
"""Indexes kept; the one not asked for longest makes room for another."""


class Selector(NamedTuple):
    """Which workers are in question, whatever they have free."""

    runtime: str
    workers: frozenset[WorkerId] | None = None
    """Of a pool; None for all."""
    where: Policy | None = None
    """A static policy; None if there is none."""
    below: tuple[QueueKey, int] | None = None
    """A group, and how many attempts of it a worker may not have yet; None if that is no matter."""


class MetadataOfAll(Mapping[WorkerId, Mapping[str, str]]):
    """The metadata of some workers, by their names, always as it is now."""

    def __init__(self, rooms: Mapping[WorkerId, Room]) -> None:
        self._rooms = rooms

    def __getitem__(self, worker_id: WorkerId) -> Mapping[str, str]:
        return self._rooms[worker_id].metadata

    def __iter__(self) -> Iterator[WorkerId]:
        return iter(self._rooms)

    def __len__(self) -> int:
        return len(self._rooms)


class Fleet:
    """Workers by their ids. Changed as they come, go, and are given attempts."""

    def __init__(self) -> None:
        self.rooms: dict[WorkerId, Room] = {}
        self._all = MetadataOfAll(self.rooms)
        self._counts: dict[WorkerId, Counter[QueueKey]] = {}
        self._ladders: OrderedDict[Selector, tuple[Ladder, Ladder]] = OrderedDict()
        """By what is free, and by what there is in all."""

    @classmethod
    def of(
        cls, rooms: Iterable[Room], running: Iterable[tuple[WorkerId, QueueKey]] = ()
    ) -> "Fleet":
        """These workers, on which attempts of these groups run already."""
        fleet = cls()
        for room in rooms:
            fleet.put(room)
        for worker_id, key in running:
            fleet._counts[worker_id][key] += 1
        return fleet

    def put(self, room: Room) -> None:
        """Add a worker, or change what is known of it; what it runs stays counted."""
        before = self.rooms.get(room.worker_id)
        self.rooms[room.worker_id] = room
        self._counts.setdefault(room.worker_id, Counter())
        if before is None or before.metadata != room.metadata:
            self._forget_wide()
        for selector, (free, whole) in self._ladders.items():
            if self._selects(selector, room):
                free.put(room)
                whole.put(room.emptied)
            else:
                free.remove(room.worker_id)
                whole.remove(room.worker_id)

    def remove(self, worker_id: WorkerId) -> None:
        """A worker is gone; unknown ones are ignored."""
        if self.rooms.pop(worker_id, None) is not None:
            self._forget_wide()
        self._counts.pop(worker_id, None)
        for free, whole in self._ladders.values():
            free.remove(worker_id)
            whole.remove(worker_id)

    def take(self, worker_id: WorkerId, key: QueueKey, granted: Resources) -> None:
        """A worker that is here has one more attempt."""
        room = self.rooms[worker_id].minus(granted)
        self._counts[worker_id][key] += 1
        self._change(room, key)

    def give_back(self, worker_id: WorkerId, key: QueueKey, granted: Resources) -> None:
        """A worker that is here has one attempt less."""
        room = self.rooms[worker_id].plus(granted)
        counts = self._counts[worker_id]
        counts[key] -= 1
        if counts[key] <= 0:
            del counts[key]
        self._change(room, key)

    def count(self, worker_id: WorkerId, key: QueueKey) -> int:
        """How many attempts of a group a worker has."""
        return self._counts[worker_id][key]

    def usable(self, worker_id: WorkerId, runtime: str) -> bool:
        """Whether a worker is here, takes tasks, and has this runtime now."""
        room = self.rooms.get(worker_id)
        return room is not None and room.accepting and runtime in room.runtimes

    def ladders(self, selector: Selector) -> tuple[Ladder, Ladder]:
        """The workers in question: by what is free on them, and by what they have in all."""
        found = self._ladders.get(selector)
        if found is not None:
            self._ladders.move_to_end(selector)
            return found
        free, whole = self._ladders[selector] = Ladder(), Ladder()
        for room in self.rooms.values():
            if self._selects(selector, room):
                free.put(room)
                whole.put(room.emptied)
        if len(self._ladders) > _LADDERS:
            self._ladders.popitem(last=False)
        return free, whole

    def refusal(self, task: ReadyTask, worker_id: WorkerId) -> str | None:
        """Why a task's policy refuses a worker; None if it does not."""
        policy = task.demand.policy
        if policy is None:
            return None
        count = self.count(worker_id, QueueKey(task.workspace, task.group))
        return refusal(policy, self.rooms[worker_id], count, self._all)

    def choose(
        self, task: ReadyTask, selector: Selector, kept: Mapping[WorkerId, int] | None = None
    ) -> Room | None:
        """The least loaded of some workers with room for a task; None if there is none.

        ``kept`` names workers that are kept free for the task with this ``seq``.
        """
        demand, seq = task.demand, task.seq

        def accept(worker_id: WorkerId) -> bool:
            return (
                (not kept or kept.get(worker_id, seq) == seq)
                and self.rooms[worker_id].fits(demand)
                and self.refusal(task, worker_id) is None
            )

        ladder, patience = self.ladders(selector)[0], None
        limit = None if demand.policy is None else most_per_host(demand.policy)
        if limit is not None:
            # To index those below the limit costs a look at all of them; most have no need of it.
            selector = selector._replace(below=(QueueKey(task.workspace, task.group), limit))
            if selector in self._ladders:
                ladder = self.ladders(selector)[0]
            else:
                patience = _PATIENCE
        try:
            found = ladder.best(demand.resources, accept, patience)
        except TooManyRefused:
            found = self.ladders(selector)[0].best(demand.resources, accept)
        return None if found is None else self.rooms[found]

    def _forget_wide(self) -> None:
        """Drop the indexes whose answers for one worker depend on what others are."""
        wide = [one for one in self._ladders if one.where is not None and looks_around(one.where)]
        for selector in wide:
            del self._ladders[selector]

    def _change(self, room: Room, key: QueueKey) -> None:
        self.rooms[room.worker_id] = room
        for selector, (free, whole) in self._ladders.items():
            if selector.below is not None and selector.below[0] == key:
                if self._selects(selector, room):
                    free.put(room)
                    whole.put(room.emptied)
                else:
                    free.remove(room.worker_id)
                    whole.remove(room.worker_id)
            elif room.worker_id in free:
                free.put(room)

    def _selects(self, selector: Selector, room: Room) -> bool:
        return (
            room.accepting
            and selector.runtime in room.runtimes
            and (selector.workers is None or room.worker_id in selector.workers)
            and (selector.where is None or refusal(selector.where, room, 0, self._all) is None)
            and (
                selector.below is None
                or self.count(room.worker_id, selector.below[0]) < selector.below[1]
            )
        )
