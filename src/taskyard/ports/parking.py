"""The parking port: entries that background work could not deal with."""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant

ParkedKind = Literal["task", "job", "schedule", "trigger", "delivery", "attempt"]


class Parked(Struct, frozen=True):
    """An entry that was put aside so that the others can go on."""

    kind: ParkedKind
    key: str
    """Its id."""
    workspace: WorkspaceName
    reason: str
    """Why it could not be dealt with."""
    since: Instant
    retry_at: Instant
    """When it is tried again; at the next start of the server at the latest."""


class ParkingStore(Protocol):
    """What is put aside."""

    async def park(
        self, kind: ParkedKind, key: str, workspace: WorkspaceName, reason: str, now: Instant
    ) -> None:
        """Put an entry aside for a while; again if it failed again."""
        ...

    async def parked(self, workspace: WorkspaceName, limit: int) -> Sequence[Parked]:
        """What is put aside in a workspace, longest first."""
        ...
