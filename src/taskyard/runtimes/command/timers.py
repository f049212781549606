"""Calls to be made later, in order of time."""

import heapq
from collections.abc import Callable
from itertools import count


class Timer:
    """One call to be made later."""

    __slots__ = ("_timers", "call")

    def __init__(self, timers: "Timers", call: Callable[[], None]) -> None:
        self._timers = timers
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not make the call; nothing happens if it was made."""
        if self.call is not None:
            self.call = None
            self._timers.forget()


class Timers:
    """A queue of timers; cancelled ones do not pile up however far away their time is."""

    __slots__ = ("_cancelled", "_heap", "_order")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0

    def at(self, when: float, call: Callable[[], None]) -> Timer:
        """Make a call at a time of the monotonic clock, in seconds."""
        timer = Timer(self, call)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        return timer

    def forget(self) -> None:
        """Note that a timer was cancelled; tidies up once most of them are."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def next_at(self) -> float | None:
        """When :meth:`run` will next have something to do; None for never."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Make all calls whose time has come."""
        while (when := self.next_at()) is not None and when <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is not None:
                call()

    def __len__(self) -> int:
        return len(self._heap)
