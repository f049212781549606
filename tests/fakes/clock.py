"""Time and identity that a test decides."""

import asyncio
import heapq

import anyio
from anyio.lowlevel import checkpoint

from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId
from taskyard.core.instants import SECOND, Instant

START = Instant(1_700_000_000 * SECOND)
"""2023-11-14 22:13:20 UTC."""


class VirtualClock:
    """Implements ``ports.clock.Clock``; time passes only when :meth:`advance` says so."""

    def __init__(self, now: Instant = START) -> None:
        self._now: int = now
        self._set_by = 0
        self._sleepers: list[tuple[int, int, anyio.Event]] = []
        self._count = 0

    def now(self) -> Instant:
        """The time as it was set last."""
        return Instant(self._now + self._set_by)

    def monotonic(self) -> float:
        """The same as seconds, whatever the wall clock was set to."""
        return self._now / SECOND

    async def sleep(self, seconds: float) -> None:
        """Until time was turned forward by that much."""
        if seconds <= 0:
            await checkpoint()
            return
        event = anyio.Event()
        self._count += 1
        sleeper = (self._now + round(seconds * SECOND), self._count, event)
        heapq.heappush(self._sleepers, sleeper)
        try:
            await event.wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def set(self, by_s: float) -> None:
        """Somebody sets the wall clock; no time passes."""
        self._set_by += round(by_s * SECOND)

    @property
    def wakes_at(self) -> Instant | None:
        """When the first sleeper wakes; None if nobody sleeps."""
        return Instant(self._sleepers[0][0]) if self._sleepers else None

    def advance(self, seconds: float) -> None:
        """Turn time forward and wake everybody whose time has come."""
        self._now += round(seconds * SECOND)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()


class CountingIds:
    """Implements ``ports.clock.Ids``: 1, 2, 3 … in the shape of the real ones."""

    def __init__(self, chance: float = 0.5) -> None:
        self._chance = chance
        self._counts: dict[str, int] = {}

    def task(self) -> TaskId:
        """``00000000-0000-7000-8000-…``, counting up."""
        return TaskId(f"00000000-0000-7000-8000-{self._next('task'):012d}")

    def attempt(self) -> AttemptId:
        """The same with an ``a`` in it."""
        return AttemptId(f"00000000-0000-7000-a000-{self._next('attempt'):012d}")

    def incarnation(self) -> IncarnationId:
        """``incarnation-1``, …"""
        return IncarnationId(f"incarnation-{self._next('incarnation')}")

    def lease(self) -> LeaseToken:
        """``lease-1``, …"""
        return LeaseToken(f"lease-{self._next('lease')}")

    def chance(self) -> float:
        """Always the same."""
        return self._chance

    def _next(self, kind: str) -> int:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return self._counts[kind]


async def settled() -> None:
    """Return once everything has happened that happens without time passing.

    That is when nobody else is about to run; turns are counted for those who always are.
    """
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # asyncio's own
    for _ in range(60):
        await checkpoint()
        if not ready:
            return
