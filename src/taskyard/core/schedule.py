"""Recurring rules: when a cron expression fires, and what becomes of firings that were missed."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant, from_datetime, to_datetime


class CatchUp(StrEnum):
    """What to do about firings that came due while nobody was there to fire them."""

    NONE = "none"
    """Skip them; go on with the next one in the future."""
    ONE = "one"
    """Make up for all of them with one task."""
    ALL = "all"
    """Make up for each with a task of its own."""


def check_cron(expression: str, timezone: str) -> None:
    """Raise :class:`InvalidInput` naming ``cron`` or ``timezone`` unless both can be used."""
    zone = _zone(timezone)
    if len(expression.split()) != 5:
        raise InvalidInput("cron", "needs five fields: minute hour day month weekday")
    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=zone)))
    except (CronSimError, StopIteration) as error:
        raise InvalidInput(
            "cron", f"cannot be read: {error}" if str(error) else "never fires"
        ) from error


def next_firing(expression: str, timezone: str, after: Instant) -> Instant | None:
    """The first firing strictly after an instant; None if there is none in the next 50 years.

    Daylight saving time follows Debian's cron, as cronsim does: a firing in the skipped hour
    happens right after it, one in the repeated hour happens once.
    """
    moment = to_datetime(after).astimezone(_zone(timezone))
    try:
        return from_datetime(next(CronSim(expression, moment)))
    except StopIteration:
        return None


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


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput("timezone", f"there is no time zone {name!r}") from error
