"""What is going to happen, by time; what falls on the same moment, in order of its entry."""

from enum import IntEnum
from heapq import heappop, heappush
from typing import NamedTuple

from taskyard.core.instants import Instant


class Event(IntEnum):
    """Kinds of events, each with what its two numbers are."""

    ARRIVAL = 0
    """A task comes: its source, its number there."""
    END = 1
    """An attempt has run its course: its task, its number."""
    DUE = 2
    """A back-off is over: its task."""
    EXPIRY = 3
    """A task must not begin any more: its task."""
    COMMITTED = 4
    """A round of the scheduler is on disk."""
    WAKE = 5
    """The scheduler looks again."""
    WORKER = 6
    """Something happens to a worker: its number, its life; what, is in :class:`AgendaEntry`."""


class AgendaEntry(NamedTuple):
    """One event. Sorted by the first two members alone, of which there are no two alike."""

    at: Instant
    order: int
    event: Event
    first: int
    second: int
    third: int


class Agenda:
    """Entries by time."""

    def __init__(self) -> None:
        self._heap: list[AgendaEntry] = []
        self._entered = 0

    def add(
        self, at: Instant, event: Event, first: int = 0, second: int = 0, third: int = 0
    ) -> None:
        """Something will happen."""
        self._entered += 1
        heappush(self._heap, AgendaEntry(at, self._entered, event, first, second, third))

    def next_at(self) -> Instant | None:
        """When the next thing happens; None if nothing does."""
        return self._heap[0].at if self._heap else None

    def pop(self) -> AgendaEntry:
        """The next thing. Raises ``IndexError`` if there is none."""
        return heappop(self._heap)
