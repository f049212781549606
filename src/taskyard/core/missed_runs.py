"""What becomes of firings that were missed."""

from enum import StrEnum
from typing import Final

from taskyard.core.cron import next_firing
from taskyard.core.instants import Instant


class CatchUp(StrEnum):
    """What to do about firings that came due while nobody was there to fire them."""

    NONE = "none"
    """Skip them; go on with the next one in the future."""
    ONE = "one"
    """Make up for all of them with one task."""
    ALL = "all"
    """Make up for each with a task of its own."""


def firings_due(
    expression: str, timezone: str, due_at: Instant, now: Instant, policy: CatchUp, limit: int
) -> tuple[list[Instant], Instant | None]:
    """Which firings a recurring task owes at ``now``, and when it fires next.

    ``due_at`` is the firing it was waiting for (at or before ``now``). At most ``limit`` firings
    are returned; with more owed under :attr:`CatchUp.ALL`, the next firing is the first one left
    over and already past. A firing less than a minute late is no missed one: it always happens.
    """
    owed: list[Instant] = []
    firing: Instant | None = due_at
    if policy is not CatchUp.ALL:
        firing = _skip_ahead(expression, timezone, due_at, now)
    while firing is not None and firing <= now:
        if policy is CatchUp.ALL and len(owed) == limit:
            return owed, firing
        owed.append(firing)
        if policy is not CatchUp.ALL:
            owed = owed[-1:]
        firing = next_firing(expression, timezone, firing)
    if policy is CatchUp.NONE:
        owed = [late for late in owed if now - late < GRACE]
    return owed, firing


def _skip_ahead(expression: str, timezone: str, due_at: Instant, now: Instant) -> Instant:
    """A firing at or before the last one owed: a year of missed minutes is not walked through."""
    for span in _SPANS:
        start = Instant(now - span)
        if start <= due_at:
            break
        firing = next_firing(expression, timezone, start)
        if firing is not None and firing <= now:
            return firing
    return due_at


GRACE = 60_000_000
"""Microseconds a firing may be late and still count as on time."""

_HOUR: Final = 3_600_000_000
_SPANS: Final = (_HOUR, 24 * _HOUR, 31 * 24 * _HOUR, 366 * 24 * _HOUR)
"""How far back to look for the last firing owed, nearest first."""
