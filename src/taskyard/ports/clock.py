"""Time and identity: the two sources of surprise, made arguments."""

from typing import Protocol

from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId
from taskyard.core.instants import Instant


class Clock(Protocol):
    """Wall time for rows, and waiting."""

    def now(self) -> Instant:
        """The present instant."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds (at once when not positive)."""
        ...


class Ids(Protocol):
    """New identifiers and random numbers."""

    def task(self) -> TaskId:
        """A new UUID version 7."""
        ...

    def attempt(self) -> AttemptId:
        """A new UUID version 7."""
        ...

    def incarnation(self) -> IncarnationId:
        """A new random id."""
        ...

    def lease(self) -> LeaseToken:
        """A new unguessable token."""
        ...

    def chance(self) -> float:
        """A number drawn evenly from 0 up to, not including, 1."""
        ...
