"""The least loaded of many workers with room, found without looking at all of them.

A tree over the workers whose inner nodes know the lowest load and the largest gaps below them. A
search goes down where the load is lowest and skips what cannot have room. One change or one search
costs a few steps for each doubling of the number of workers.
"""

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf
from typing import Final, NamedTuple

from taskyard.core.ids import WorkerId
from taskyard.core.resources import Resources
from taskyard.core.scheduling.placement import Room


class Headroom(NamedTuple):
    """Lowest load and largest gaps of some workers."""

    load: float
    slots: float
    cpu_millis: float
    memory_bytes: float
    cores: float
    """Of one node."""


_NOTHING: Final = Headroom(inf, -inf, -inf, -inf, -inf)


class TooManyRefused(Exception):
    """A search saw many workers with room, and all were refused so far."""


class WorkerIndex:
    """Some workers, in the order in which they came."""

    def __init__(self) -> None:
        self._places: dict[WorkerId, int] = {}
        self._workers: list[WorkerId | None] = [None]
        self._vacant = [0]
        self._tree = [_NOTHING, _NOTHING]
        self._size = 1

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def __contains__(self, worker_id: WorkerId) -> bool:
        """Whether a worker is among them."""
        return worker_id in self._places

    def __iter__(self) -> Iterator[WorkerId]:
        """All of them."""
        return iter(self._places)

    def put(self, room: Room) -> None:
        """Add a worker, or learn what it has free now."""
        place = self._places.get(room.worker_id)
        if place is None:
            if not self._vacant:
                self._grow()
            place = self._places[room.worker_id] = heappop(self._vacant)
            self._workers[place] = room.worker_id
        self._set(place, headroom_of(room))

    def remove(self, worker_id: WorkerId) -> None:
        """Leave a worker out; unknown ones are ignored."""
        place = self._places.pop(worker_id, None)
        if place is not None:
            self._workers[place] = None
            heappush(self._vacant, place)
            self._set(place, _NOTHING)

    def best(
        self, asked: Resources, accept: Callable[[WorkerId], bool], patience: int | None = None
    ) -> WorkerId | None:
        """The least loaded worker that has room and is accepted; the first of equals.

        Raises :class:`TooManyRefused` after so many that had room and were not accepted.
        """
        slots, millis = asked.slots, asked.millis
        memory, cores = asked.memory_bytes or 0, asked.cores or 0
        tree, size, refused = self._tree, self._size, 0
        waiting: list[tuple[float, int, int, int]] = [(tree[1].load, 0, 1, size)]
        while waiting:
            _, first, number, width = heappop(waiting)
            headroom = tree[number]
            if (
                headroom.slots < slots
                or headroom.cpu_millis < millis
                or headroom.memory_bytes < memory
                or headroom.cores < cores
            ):
                continue
            if width == 1:
                worker = self._workers[first]
                if worker is not None and accept(worker):
                    return worker
                refused += 1
                if patience is not None and refused >= patience:
                    raise TooManyRefused
                continue
            half = width // 2
            left = 2 * number
            heappush(waiting, (tree[left].load, first, left, half))
            heappush(waiting, (tree[left + 1].load, first + half, left + 1, half))
        return None

    def by_room(self, whole: "WorkerIndex", asked: Resources) -> Iterator[WorkerId]:
        """Workers that could ever have room: most memory free first, then most slots, then as put.

        ``whole`` has the same workers, put and removed in the same order, by what they offer in
        all: those that could never have room for this are passed over unseen. Nothing may change
        from one to the next.
        """
        slots, millis = asked.slots, asked.millis
        memory, cores = asked.memory_bytes or 0, asked.cores or 0
        tree, limits = self._tree, whole._tree  # noqa: SLF001 - of its own class
        waiting = [(-tree[1].memory_bytes, -tree[1].slots, 0, 1, self._size)]
        while waiting:
            _, _, first, number, width = heappop(waiting)
            limit = limits[number]
            if (
                limit.slots < slots
                or limit.cpu_millis < millis
                or limit.memory_bytes < memory
                or limit.cores < cores
            ):
                continue
            if width == 1:
                worker = self._workers[first]
                if worker is not None:
                    yield worker
                continue
            half, left = width // 2, 2 * number
            for place, below in ((first, left), (first + half, left + 1)):
                free = tree[below]
                heappush(waiting, (-free.memory_bytes, -free.slots, place, below, half))

    def _set(self, place: int, headroom: Headroom) -> None:
        tree, number = self._tree, place + self._size
        tree[number] = headroom
        while number > 1:
            number //= 2
            a, b = tree[2 * number], tree[2 * number + 1]
            joined = Headroom(
                min(b.load, a.load),
                max(b.slots, a.slots),
                max(b.cpu_millis, a.cpu_millis),
                max(b.memory_bytes, a.memory_bytes),
                max(b.cores, a.cores),
            )
            if tree[number] == joined:
                return
            tree[number] = joined

    def _grow(self) -> None:
        before = self._tree[self._size :]
        self._vacant = list(range(self._size, 2 * self._size))
        self._workers += [None] * self._size
        self._size *= 2
        self._tree = [_NOTHING] * (2 * self._size)
        for place, headroom in enumerate(before):
            self._set(place, headroom)


def headroom_of(room: Room) -> Headroom:
    """What one worker has free."""
    free = room.free
    cores = max((len(node.cores) for node in room.nodes), default=0)
    return Headroom(room.load, free.slots, free.cpu_millis, free.memory_bytes, cores)
