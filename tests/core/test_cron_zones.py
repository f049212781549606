"""Real zones and years: firings compared with an implementation that knows nothing but minutes.

The reference walks through UTC minute by minute, and sees what the wall shows. It shares neither
code nor ideas with ``core.cron``, and reads the fields by itself.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from taskyard.core.cron import next_firing
from taskyard.core.instants import from_datetime, to_datetime

MINUTE = timedelta(minutes=1)

CHANGES = {
    "Berlin, spring": ("Europe/Berlin", "2026-03-29"),
    "Berlin, autumn": ("Europe/Berlin", "2026-10-25"),
    "New York, spring": ("America/New_York", "2026-03-08"),
    "New York, autumn": ("America/New_York", "2026-11-01"),
    "London, spring": ("Europe/London", "2026-03-29"),
    "Dublin, spring: summer time is standard": ("Europe/Dublin", "2026-03-29"),
    "Dublin, autumn: winter time is negative": ("Europe/Dublin", "2026-10-25"),
    "Lord Howe, spring: half an hour": ("Australia/Lord_Howe", "2026-10-04"),
    "Lord Howe, autumn: half an hour": ("Australia/Lord_Howe", "2026-04-05"),
    "Chatham, spring: at 2:45": ("Pacific/Chatham", "2026-09-27"),
    "Chatham, autumn: at 3:45": ("Pacific/Chatham", "2026-04-05"),
    "Troll, spring: two hours": ("Antarctica/Troll", "2026-03-29"),
    "Troll, autumn: two hours": ("Antarctica/Troll", "2026-10-25"),
    "Casablanca, Ramadan begins": ("Africa/Casablanca", "2026-02-15"),
    "Casablanca, Ramadan has ended": ("Africa/Casablanca", "2026-03-22"),
    "Sao Paulo, midnight is skipped": ("America/Sao_Paulo", "2018-11-04"),
    "Sao Paulo, the hour to midnight repeated": ("America/Sao_Paulo", "2019-02-17"),
    "Santiago, midnight is skipped": ("America/Santiago", "2026-09-06"),
    "Beirut, midnight is skipped": ("Asia/Beirut", "2026-03-29"),
    "Cairo, midnight is skipped": ("Africa/Cairo", "2026-04-24"),
    "St. John's, back to the day before": ("America/St_Johns", "2010-11-07"),
    "St. John's, a minute past midnight": ("America/St_Johns", "2010-03-14"),
    "Apia, a day is skipped": ("Pacific/Apia", "2011-12-30"),
    "Kwajalein, a day is skipped": ("Pacific/Kwajalein", "1993-08-21"),
    "Pyongyang, forward by half an hour": ("Asia/Pyongyang", "2018-05-05"),
    "Caracas, forward by half an hour": ("America/Caracas", "2016-05-01"),
    "Kathmandu, forward by a quarter": ("Asia/Kathmandu", "1986-01-01"),
    "Kathmandu, nothing changes": ("Asia/Kathmandu", "2026-03-29"),
    "Volgograd, back for good": ("Europe/Volgograd", "2020-12-27"),
    "Istanbul, summer for good": ("Europe/Istanbul", "2016-03-27"),
    "Nuuk, its last step": ("America/Nuuk", "2023-03-26"),
    "Casey, three hours": ("Antarctica/Casey", "2020-10-04"),
    "far in the future": ("Europe/Berlin", "2060-03-28"),
}

EXPRESSIONS = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 * * * *",
    "*/20 2 * * *",
    "*/15 0,1 * * *",
    "15 */2 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "0,15,45 0-3 * * *",
    "59 23 * * *",
    "5 1 * * 0",
    "10 3 30 12,3 *",
)


def numbers(field: str, low: int, high: int) -> set[int]:
    """What a field of numbers, lists, ranges and steps matches."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, _, end = span.partition("-")
        first = low if begin == "*" else int(begin)
        last = high if begin == "*" else int(end or begin)
        found.update(range(first, last + 1, int(step or 1)))
    return found


def brute_force(expression: str, zone: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Firings after ``begin``, up to ``end``, by looking at the wall each minute."""
    fields = expression.split()
    minutes, hours = numbers(fields[0], 0, 59), numbers(fields[1], 0, 23)
    days, months, weekdays = (
        numbers(field, *span)
        for field, span in zip(fields[2:], ((1, 31), (1, 12), (0, 7)), strict=True)
    )

    def matches(wall: datetime) -> bool:
        return (
            wall.minute in minutes
            and wall.hour in hours
            and wall.day in days
            and wall.month in months
            and (wall.isoweekday() in weekdays or wall.isoweekday() % 7 in weekdays)
        )

    follows_the_wall = fields[0].startswith("*") or fields[1].startswith("*")
    # Far enough back to know what the wall has shown before.
    now = begin - timedelta(days=2)
    shown = (now - MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    while now <= end:
        wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        if follows_the_wall:
            fires = matches(wall)
        else:
            # Whatever the wall has not shown yet is reached now, that which it left out as well.
            fires = False
            while shown < wall:
                shown += MINUTE
                fires = fires or matches(shown)
        if fires and now > begin:
            yield now
        now += MINUTE


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("change", CHANGES)
def test_firings_around_a_change_are_those_of_the_wall(change: str, expression: str) -> None:
    """None is left out, doubled, or out of order, three days around each change."""
    zone, day = CHANGES[change]
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC)
    begin, end = middle - timedelta(days=1.5), middle + timedelta(days=2)
    expected = list(brute_force(expression, zone, begin, end))
    found = []
    moment = next_firing(expression, zone, from_datetime(begin))
    while moment is not None and to_datetime(moment) <= end:
        found.append(to_datetime(moment))
        moment = next_firing(expression, zone, moment)
    assert found == expected


@pytest.mark.parametrize(
    "change", ["Berlin, autumn", "Lord Howe, autumn: half an hour", "Troll, autumn: two hours"]
)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_from_any_minute_on_the_next_firing_lies_ahead(change: str, expression: str) -> None:
    """Also in the second pass of a repeated hour, with seconds and microseconds."""
    zone, day = CHANGES[change]
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC)
    begin, end = middle - timedelta(days=0.6), middle + timedelta(days=0.4)
    expected = list(brute_force(expression, zone, begin, end + timedelta(days=1)))
    now = begin
    while now < end:
        since = now + timedelta(seconds=17, microseconds=123)
        found = next_firing(expression, zone, from_datetime(since))
        following = next((one for one in expected if one > since), None)
        assert found is not None
        assert found > from_datetime(since)
        if following is not None:
            assert to_datetime(found) == following
        now += 11 * MINUTE
