"""What operators see of the control planes of an installation: who there is, and who leads."""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.errors import Unavailable
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import SECOND, Instant
from taskyard.ports.leadership import LeadershipStore

SILENT_S: Final = 4.0
"""Every plane gives a sign of life each second, where the machine lets it."""

PlaneState = Literal["leading", "following", "silent"]


class PlaneStatus(Struct, frozen=True):
    """One control plane."""

    id: PlaneId
    name: str
    address: str
    version: str
    state: PlaneState
    """``silent``: it has not been heard for :data:`SILENT_S`."""
    joined_at: Instant
    beat_at: Instant
    silent_s: float
    """By the store's clock."""


class InstallationStatus(Struct, frozen=True):
    """An installation, as one of its control planes sees it."""

    plane: PlaneId | None
    """Who answers; None if it is the only one, on a store of its own."""
    leader: PlaneId | None
    """Who leads; None if nobody does at the moment, or nobody else could."""
    term: Term | None
    planes: tuple[PlaneStatus, ...]
    hears_messages: bool
    """Whether it is connected to the message server; True where there is none."""
    hears_changes: bool
    """Whether it reads what the others commit; False while the database is away."""


class ControlPlanes:
    """Looks at the planes of an installation.

    Args:
        store: knows them.
        plane: this one; None if it is the only one.
    """

    def __init__(self, store: LeadershipStore, plane: PlaneId | None) -> None:
        self._store = store
        self._plane = plane
        self._seen: InstallationStatus | None = None
        self.hears_messages: Callable[[], bool] = lambda: True
        self.hears_changes: Callable[[], bool] = lambda: True
        self.feed_behind_s: Callable[[], float] = lambda: 0.0

    def behind_s(self) -> float:
        """Seconds since all that was committed had been read here; below one if all is well."""
        return self.feed_behind_s()

    async def status(self) -> InstallationStatus:
        """What there is now; while the database is away, the planes as they were before.

        Raises as the store does if they were never seen.
        """
        if self._plane is None:
            return InstallationStatus(None, None, None, (), hears_messages=True, hears_changes=True)
        try:
            self._seen = await self._look(self._plane)
        except Unavailable:
            if self._seen is None:
                raise
            messages = self.hears_messages()
            return replace(
                self._seen, leader=None, term=None, hears_messages=messages, hears_changes=False
            )
        return self._seen

    async def _look(self, plane: PlaneId) -> InstallationStatus:
        claimed, records = await self._store.leader(), await self._store.planes()
        leader = claimed.hold if claimed is not None and claimed.hold.holds(claimed.now) else None
        planes = []
        for record in records:
            silent_s = 0.0
            if claimed is not None:
                silent_s = max(0.0, (claimed.now - record.beat_at) / SECOND)
            is_leader = leader is not None and leader.plane_id == record.plane.id
            state: PlaneState = "leading" if is_leader else "following"
            planes.append(
                PlaneStatus(
                    record.plane.id,
                    record.plane.name,
                    record.plane.address,
                    record.plane.version,
                    "silent" if silent_s > SILENT_S else state,
                    record.joined_at,
                    record.beat_at,
                    silent_s,
                )
            )
        return InstallationStatus(
            plane,
            None if leader is None else leader.plane_id,
            None if leader is None else leader.term,
            tuple(planes),
            hears_messages=self.hears_messages(),
            hears_changes=self.hears_changes(),
        )
