"""The leadership port: the control planes of an installation, and which of them leads.

All times are those of the store's own clock, which all planes share. Raises as the store ports do.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import Instant
from taskyard.core.leadership import HOLD_S, Hold


class Plane(Struct, frozen=True):
    """A control plane, as it introduces itself."""

    id: PlaneId
    name: str
    """For people."""
    address: str
    """Where others of its kind and people reach it, such as ``http://10.0.0.7:8000``."""
    version: str
    """Of Taskyard."""


class PlaneRecord(Struct, frozen=True):
    """A control plane as the store knows it."""

    plane: Plane
    joined_at: Instant
    beat_at: Instant
    """When it last asked for the hold."""


class Claimed(Struct, frozen=True):
    """What the store answered to a plane that asked for the hold."""

    hold: Hold
    now: Instant
    """By the store's clock."""


class LeadershipStore(Protocol):
    """Who leads."""

    async def register(self, plane: Plane) -> None:
        """Make a plane known, or again with what it says now."""
        ...

    async def claim(self, plane_id: PlaneId, term: Term | None, hold_s: float = HOLD_S) -> Claimed:
        """Ask for the hold, or extend one's own; also a sign of life.

        The rule is :func:`taskyard.core.leadership.claimed`. Two planes that ask at once never
        both have it.

        Args:
            plane_id: who asks.
            term: in which it leads; None if it does not.
            hold_s: for how long everybody else is kept out.

        Raises:
            NotFound: the plane is not known, or not any more; it has to register again.
        """
        ...

    async def resign(self, plane_id: PlaneId, term: Term) -> bool:
        """Let the next one lead at once. False: this plane does not lead in this term."""
        ...

    async def leader(self) -> Claimed | None:
        """The present hold, which may have run out; None if nobody ever led."""
        ...

    async def planes(self) -> Sequence[PlaneRecord]:
        """All planes that are known, oldest first."""
        ...

    async def forget(self, silent_s: float) -> int:
        """Remove planes that have been silent for longer than this; how many they were."""
        ...
