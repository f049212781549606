"""What background work could not deal with, for those who look."""

from collections.abc import Sequence
from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.ports.parking import Parked, ParkingStore

SHOWN: Final = 1000


class ParkedEntries:
    """The entries of a caller's workspace that are put aside."""

    def __init__(self, store: ParkingStore) -> None:
        self._store = store

    async def all(self, caller: Caller) -> Sequence[Parked]:
        """Longest parked first, at most :data:`SHOWN`."""
        return await self._store.parked(caller.workspace, SHOWN)
