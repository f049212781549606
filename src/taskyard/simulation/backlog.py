"""What a store would hold of ready tasks: all of them, by queue, in the order in which they go."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

from taskyard.core.scheduling.queues import QueueKey

_SHIFT: Final = 40
"""Bits of a ``seq`` in an entry; the priority is above them."""
_MASK: Final = (1 << _SHIFT) - 1
_SLACK: Final = 1024


class Backlog:
    """Entries are single numbers, and void once their task is not queued any more."""

    def __init__(self, is_queued: Callable[[int], bool]) -> None:
        self._is_queued = is_queued
        self._heaps: dict[QueueKey, list[int]] = {}
        self._counts: dict[QueueKey, int] = {}

    def add(self, key: QueueKey, priority: int, seq: int) -> None:
        """A task became ready."""
        heappush(self._heaps.setdefault(key, []), (100 - priority) << _SHIFT | seq)
        self._counts[key] = self._counts.get(key, 0) + 1

    def leave(self, key: QueueKey) -> None:
        """One of the queue's tasks is not queued any more; its state says so already."""
        self._counts[key] -= 1
        heap = self._heaps[key]
        if len(heap) > 2 * self._counts[key] + _SLACK:
            heap[:] = {entry for entry in heap if self._is_queued(entry & _MASK)}
            heapify(heap)

    def first(self, key: QueueKey, most: int) -> list[int]:
        """The tasks that go first, in order; fewer than ``most`` are all there are."""
        heap, found = self._heaps.get(key, []), list[int]()
        while heap and len(found) < most:
            entry = heappop(heap)
            # A task that was taken and came back has two entries.
            if self._is_queued(entry & _MASK) and (not found or found[-1] != entry):
                found.append(entry)
        for entry in found:
            heappush(heap, entry)
        return [entry & _MASK for entry in found]

    def counts(self) -> dict[QueueKey, int]:
        """How many are queued, of each queue that has any."""
        return {key: count for key, count in self._counts.items() if count}
