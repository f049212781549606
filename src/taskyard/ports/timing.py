"""The timing port: what a clock that was set back means for what waits."""

from typing import Protocol

from taskyard.core.instants import Instant


class TimingStore(Protocol):
    """Everything that waits for a moment of the wall clock."""

    async def went_back(self, by_s: float, now: Instant) -> None:
        """The wall clock was set back by so many seconds, and says ``now``.

        What waits for a while (a delay, a back-off) goes on waiting for as long as before; what
        recurs fires next when its rule says so, by the clock as it is now; what was given a
        moment still waits for that.
        """
        ...
