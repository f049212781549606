"""The leadership port in memory."""

import time
from collections.abc import Callable

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from taskyard.core.errors import NotFound, NotLeading
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import SECOND, Instant, after
from taskyard.core.leadership import HOLD_S, Hold, claimed
from taskyard.ports.leadership import Claimed, Plane, PlaneRecord


def real_now() -> Instant:
    """The machine's clock."""
    return Instant(round(time.time() * SECOND))


class MemoryLeadership:
    """Implements ``ports.leadership.LeadershipStore``, by any clock."""

    def __init__(self, now: Callable[[], Instant] = real_now) -> None:
        self._now = now
        self._hold: Hold | None = None
        self._planes: dict[PlaneId, PlaneRecord] = {}

    def leads(self, term: Term | None) -> bool:
        """Whether no later term than this one has begun; None always does."""
        return term is None or (self._hold is not None and self._hold.term == term)

    def check(self, term: Term | None) -> None:
        """Raise ``NotLeading`` unless it does."""
        if not self.leads(term):
            raise NotLeading

    async def register(self, plane: Plane) -> None:
        """See the port."""
        await checkpoint()
        now = self._now()
        known = self._planes.get(plane.id)
        joined_at = now if known is None else known.joined_at
        self._planes[plane.id] = PlaneRecord(plane, joined_at, now)

    async def claim(self, plane_id: PlaneId, term: Term | None, hold_s: float = HOLD_S) -> Claimed:
        """See the port."""
        await checkpoint()
        if plane_id not in self._planes:
            raise NotFound("control plane", plane_id)
        now = self._now()
        self._planes[plane_id] = replace(self._planes[plane_id], beat_at=now)
        self._hold = claimed(self._hold, plane_id, term, now, hold_s)
        return Claimed(self._hold, now)

    async def resign(self, plane_id: PlaneId, term: Term) -> bool:
        """See the port."""
        await checkpoint()
        now, hold = self._now(), self._hold
        if hold is None or (hold.plane_id, hold.term) != (plane_id, term) or not hold.holds(now):
            return False
        self._hold = replace(hold, expires_at=now)
        return True

    async def leader(self) -> Claimed | None:
        """See the port."""
        await checkpoint()
        return None if self._hold is None else Claimed(self._hold, self._now())

    async def planes(self) -> list[PlaneRecord]:
        """See the port."""
        await checkpoint()
        return sorted(self._planes.values(), key=lambda one: (one.joined_at, one.plane.id))

    async def forget(self, silent_s: float) -> int:
        """See the port."""
        await checkpoint()
        limit = after(self._now(), -silent_s)
        gone = [one.plane.id for one in self._planes.values() if one.beat_at < limit]
        for plane_id in gone:
            del self._planes[plane_id]
        return len(gone)
