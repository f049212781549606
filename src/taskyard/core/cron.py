"""When a cron expression fires in a time zone, daylight saving time included.

Two rules, as in Debian's cron, told apart by how the expression is written:

- A *time of day* (neither the minute nor the hour begins with ``*``, as in ``30 2 * * *``) happens
  once for each time on the wall: in time that is repeated the first time, and what lies in time
  that is skipped right after it (several such firings are one).
- An *interval* (the minute or the hour begins with ``*``, as in ``*/15 * * * *``) follows the
  wall clock: it fires in every minute in which the wall shows a time that matches, so twice in time
  that is repeated, and not in time that is skipped.

Only the fields are read by cronsim. Its own walk through time assumes changes by whole hours.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant, from_datetime, to_datetime

HORIZON: Final = timedelta(days=50 * 366)
"""How far ahead a firing is looked for."""
LONGEST: Final = 500
"""Characters of an expression."""

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_CHECKED_FROM: Final = Instant(1_704_067_200_000_000)
"""2024-01-01. Whether an expression fires at all does not depend on the year, but for leap days."""
_PROBES: Final = 4
"""Looks at the offset in a day. No zone ever changed its clocks twice within six hours."""
_LAST: Final = datetime(9990, 1, 1, tzinfo=UTC)
"""Calendars end soon after it."""


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name. Raises :class:`InvalidInput` naming ``timezone``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            "timezone", f"{name!r} is not a known time zone, such as Europe/Berlin"
        ) from error


def check_cron(expression: str, timezone: str) -> None:
    """Raise :class:`InvalidInput` naming ``cron`` or ``timezone`` unless both can be used."""
    zone_of(timezone)
    if next_firing(expression, timezone, _CHECKED_FROM) is None:
        raise InvalidInput("cron", "never fires")


def next_firing(expression: str, timezone: str, after: Instant) -> Instant | None:
    """The first firing strictly after an instant; None if there is none in the next 50 years.

    Raises :class:`InvalidInput` naming ``cron`` or ``timezone`` for those that cannot be read.
    """
    zone, rule = zone_of(timezone), _rule(expression)
    start = to_datetime(after)
    walk = _intervals if is_interval(expression) else _times_of_day
    found = next(walk(rule, zone, start), None)
    return None if found is None else from_datetime(found)


def is_interval(expression: str) -> bool:
    """Whether an expression follows the wall clock rather than naming times of the day."""
    return any(field.startswith("*") for field in expression.split()[:2])


class _Rule:
    """The fields of an expression."""

    def __init__(self, expression: str) -> None:
        if len(expression) > LONGEST:
            raise InvalidInput("cron", f"is longer than {LONGEST} characters")
        if len(expression.split()) != 5:
            raise InvalidInput("cron", "needs five fields: minute hour day month weekday")
        try:
            self._fields = CronSim(expression, datetime(2024, 1, 1))  # noqa: DTZ001 - fields only
        except (CronSimError, ValueError) as error:
            wrong = str(error).removeprefix("Bad ")
            raise InvalidInput("cron", f"the field for the {wrong} is not valid") from error
        self._hours = sorted(self._fields.hours)
        self._minutes = sorted(self._fields.minutes)

    def includes(self, day: date) -> bool:
        """Whether it fires on this day at all."""
        return day.month in self._fields.months and self._fields.match_day(day)

    def times(self, day: date, begin: datetime) -> Iterator[datetime]:
        """Times of the wall on a day that match, from ``begin`` on, in order."""
        earliest = begin.time() if begin.date() == day else time.min
        for hour in self._hours[bisect_left(self._hours, earliest.hour) :]:
            for minute in self._minutes:
                local = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001
                if local >= begin:
                    yield local


@lru_cache(maxsize=256)
def _rule(expression: str) -> _Rule:
    return _Rule(expression)


def _times_of_day(rule: _Rule, zone: tzinfo, start: datetime) -> Iterator[datetime]:
    """All firings after ``start``, in UTC, each time on the wall once."""
    wall = start.astimezone(zone).replace(tzinfo=None, fold=0)
    last, end = start, min(start + HORIZON, _LAST)
    day = wall.date()
    while day < end.date():
        if rule.includes(day):
            # Times of the wall before this one were reached before ``start``.
            for local in rule.times(day, wall):
                firing = _first_at(local, zone)
                if firing > last:
                    last = firing
                    yield firing
        day += _DAY


def _first_at(local: datetime, zone: tzinfo) -> datetime:
    """The first instant at which the wall shows ``local``, or a later time if that is skipped."""
    early = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if early.astimezone(zone).replace(tzinfo=None) == local:
        return early
    # In skipped time: the two offsets, from before and from after, enclose the change.
    late = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _change(zone, min(early, late), max(early, late))


def _intervals(rule: _Rule, zone: tzinfo, start: datetime) -> Iterator[datetime]:
    """All firings after ``start``, in UTC, one for each minute in which the wall matches."""
    begin, end = start.replace(microsecond=0), min(start + HORIZON, _LAST)
    while begin < end:
        until = (begin + _DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        # Local dates of a UTC date: zones are at most 26 hours apart.
        if any(rule.includes(begin.date() + shift * _DAY) for shift in (-1, 0, 1)):
            for piece_begin, piece_end, offset in _pieces(zone, begin, until):
                for firing in _minutes(rule, piece_begin, piece_end, offset):
                    if firing > start:
                        yield firing
        begin = until


def _minutes(rule: _Rule, begin: datetime, end: datetime, offset: timedelta) -> Iterator[datetime]:
    """Firings from ``begin`` up to, not including, ``end``, all with the same offset."""
    wall, wall_end = ((one + offset).replace(tzinfo=None) for one in (begin, end))
    day = wall.date()
    while day <= wall_end.date():
        if rule.includes(day):
            for local in rule.times(day, wall):
                if local >= wall_end:
                    return
                yield local.replace(tzinfo=UTC) - offset
        day += _DAY


def _pieces(
    zone: tzinfo, begin: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Parts of a span of UTC with one offset each."""
    step = _DAY / _PROBES
    offset, piece = _offset(zone, begin), begin
    probe = begin
    while probe < end:
        following = min(probe + step, end)
        if _offset(zone, following) != offset:
            change = _change(zone, probe, following)
            yield piece, change, offset
            piece, offset = change, _offset(zone, change)
        probe = following
    if piece < end:
        yield piece, end, offset


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _change(zone: tzinfo, before: datetime, at: datetime) -> datetime:
    """The first instant after ``before``, up to ``at``, with another offset. Whole seconds."""
    old = _offset(zone, before)
    while at - before > _SECOND:
        middle = before + ((at - before) // _SECOND // 2) * _SECOND
        if _offset(zone, middle) == old:
            before = middle
        else:
            at = middle
    return at


def check_seconds_cron(expression: str, field: str = "cron") -> None:
    """Raise ``InvalidInput`` naming ``field`` unless the expression can be read and fires."""
    if len(expression) > LONGEST:
        raise InvalidInput(field, f"is longer than {LONGEST} characters")
    if len(expression.split()) not in {5, 6}:
        raise InvalidInput(
            field, "needs five fields (minute hour day month weekday), or seconds as a sixth"
        )
    try:
        fires = next_start(expression, _CHECKED_FROM)
    except (CronSimError, ValueError) as error:
        raise InvalidInput(field, f"cannot be read: {error}") from error
    if fires is None:
        raise InvalidInput(field, "never fires")


def next_start(expression: str, after: Instant) -> Instant | None:
    """The first firing strictly after an instant; None if there is none in the next 50 years."""
    fields = expression.split()
    if len(fields) == 6:
        # cronsim has seconds first.
        fields = [fields[-1], *fields[:-1]]
    try:
        return from_datetime(next(CronSim(" ".join(fields), to_datetime(after))))
    except StopIteration:
        return None


class CatchUp(StrEnum):
    """What to do about firings that came due while the server was down."""

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
