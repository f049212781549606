"""Who sees reports of workers first."""

from collections.abc import Sequence
from typing import Protocol

from taskyard.core.attempts import Report


class Arrivals(Protocol):
    """Who wants to see reports between their commit and their announcement."""

    def arrived(self, reports: Sequence[Report]) -> None:
        """These are stored."""
        ...

    def announced(self) -> None:
        """They were announced."""
        ...


class NoArrivals:
    """Nobody does."""

    def arrived(self, reports: Sequence[Report]) -> None:
        """Not interested."""

    def announced(self) -> None:
        """Not interested."""
