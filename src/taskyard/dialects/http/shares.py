"""Limits that callers share: a total, and at most a part of it for each holder."""

from collections.abc import Hashable
from typing import Final

from taskyard.core.errors import Busy, Overloaded

RETRY_S: Final = 5.0
"""Seconds after which it is worth trying again."""
DEFAULT_PERCENT: Final = 50


class Shares:
    """How much of a resource is taken, in total and by each holder."""

    def __init__(self, noun: str, most: int, percent: int = DEFAULT_PERCENT) -> None:
        """Share ``most`` of ``noun`` (a plural); one holder gets ``percent`` of it."""
        self._noun = noun
        self.most = most
        self.each = max(1, most * percent // 100)
        self.taken = 0
        self._by_holder: dict[Hashable, int] = {}

    def held_by(self, who: Hashable) -> int:
        """How much one holder has."""
        return self._by_holder.get(who, 0)

    def check(self, who: Hashable, count: int = 1) -> None:
        """Check that a holder may take so much; takes nothing.

        Raises ``Overloaded`` for more than its share, ``Busy`` if the total is used up.
        """
        if self._by_holder.get(who, 0) + count > self.each:
            raise Overloaded(
                f"you have reached the limit of {self.each} {self._noun};"
                " wait until some have ended",
                RETRY_S,
            )
        if self.taken + count > self.most:
            raise Busy(
                f"the server has reached its limit of {self.most} {self._noun}; try again later",
                RETRY_S,
            )

    def take(self, who: Hashable, count: int = 1) -> None:
        """Take from the share. Raises as :meth:`check`."""
        self.check(who, count)
        self.taken += count
        self._by_holder[who] = self._by_holder.get(who, 0) + count

    def give_back(self, who: Hashable, count: int = 1) -> None:
        """Return what was taken."""
        self.taken -= count
        left = self._by_holder[who] - count
        if left:
            self._by_holder[who] = left
        else:
            del self._by_holder[who]
