"""Cron: time zones with their summer times, leap days, and firings that were missed."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.cron import CatchUp, check_cron, firings_due, next_firing
from taskyard.core.errors import InvalidInput
from taskyard.core.instants import SECOND, Instant, from_datetime, to_datetime

MINUTE = 60 * SECOND


def at(text: str) -> Instant:
    """An instant from text in ISO format, UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def fires(expression: str, zone: str, since: str, count: int) -> list[str]:
    """The next firings in local time."""
    moment, found = at(since), []
    for _ in range(count):
        following = next_firing(expression, zone, moment)
        assert following is not None
        moment = following
        found.append(to_datetime(moment).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "since", "expected"),
    [
        pytest.param(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00",
            ["03-29 03:00+0200", "03-30 02:30+0200"],
            id="the skipped hour of Berlin: right after it",
        ),
        pytest.param(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            ["10-25 02:30+0200", "10-26 02:30+0100"],
            id="the repeated hour of Berlin: once",
        ),
        pytest.param(
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00",
            ["03-08 03:00-0400", "03-09 02:30-0400"],
            id="the skipped hour of New York: right after it",
        ),
        pytest.param(
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00",
            ["11-01 01:30-0400", "11-02 01:30-0500"],
            id="the repeated hour of New York: once",
        ),
        pytest.param(
            "0 8 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00",
            ["10-25 08:00+0100", "10-26 08:00+0100"],
            id="wall time is kept when the offset changes",
        ),
        pytest.param(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:15",
            ["10-25 02:30+0200", "10-25 02:00+0100", "10-25 02:30+0100", "10-25 03:00+0100"],
            id="intervals go on through the repeated hour",
        ),
        pytest.param(
            "0 0 29 2 *",
            "UTC",
            "2026-01-01",
            ["02-29 00:00+0000", "02-29 00:00+0000"],
            id="leap days",
        ),
    ],
)
def test_firings_follow_local_time(
    expression: str, zone: str, since: str, expected: list[str]
) -> None:
    """A rule is read on the wall clock of its zone."""
    assert fires(expression, zone, since, len(expected)) == expected


def test_the_next_leap_day_is_years_away() -> None:
    """The year is right, too."""
    assert next_firing("0 0 29 2 *", "UTC", at("2026-01-01")) == at("2028-02-29")


@pytest.mark.parametrize(
    ("expression", "zone", "field"),
    [
        ("* * * *", "UTC", "cron"),
        ("* * * * * *", "UTC", "cron"),
        ("@daily", "UTC", "cron"),
        ("", "UTC", "cron"),
        ("60 * * * *", "UTC", "cron"),
        ("0 0 30 2 *", "UTC", "cron"),
        ("a b c d e", "UTC", "cron"),
        ("0 0 * * \0", "UTC", "cron"),
        pytest.param(f"*/{'9' * 5000} * * * *", "UTC", "cron", id="a huge step"),
        pytest.param(f"{'1,' * 400}1 * * * *", "UTC", "cron", id="a long list"),
        ("* * * * *", "Mars/Olympus", "timezone"),
        ("* * * * *", "", "timezone"),
        ("* * * * *", "../../etc/passwd", "timezone"),
        ("* * * * *", "/etc/passwd", "timezone"),
        ("* * * * *", "UTC\0", "timezone"),
        ("* * * * *", "x" * 5000, "timezone"),
        ("* * * * *", "\ud800", "timezone"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(expression: str, zone: str, field: str) -> None:
    """The error names the member at fault."""
    with pytest.raises(InvalidInput) as caught:
        check_cron(expression, zone)
    assert caught.value.field == field


MISSED = (at("2026-05-01T12:00"), at("2026-05-01T12:05:30"))


@pytest.mark.parametrize(
    ("policy", "owed"),
    [
        (CatchUp.NONE, ["12:05"]),
        (CatchUp.ONE, ["12:05"]),
        (CatchUp.ALL, ["12:00", "12:01", "12:02", "12:03", "12:04", "12:05"]),
    ],
)
def test_missed_firings_are_made_up_for_by_policy(policy: CatchUp, owed: list[str]) -> None:
    """One less than a minute late was not missed, so every policy has it."""
    found, following = firings_due("* * * * *", "UTC", *MISSED, policy, 100)
    assert [to_datetime(moment).strftime("%H:%M") for moment in found] == owed
    assert following == at("2026-05-01T12:06")


def test_without_catching_up_what_was_missed_is_skipped() -> None:
    """A server that was down at eight does not run the eight o'clock task at nine."""
    due, now = at("2026-05-01T08:00"), at("2026-05-01T09:00")
    found, following = firings_due("0 8 * * *", "UTC", due, now, CatchUp.NONE, 100)
    assert found == []
    assert following == at("2026-05-02T08:00")


def test_many_missed_firings_are_handed_out_in_parts() -> None:
    """Each part goes on where the one before ended; none is lost or repeated."""
    due, now = MISSED
    seen: list[Instant] = []
    following: Instant | None = due
    while following is not None and following <= now:
        part, following = firings_due("* * * * *", "UTC", following, now, CatchUp.ALL, 4)
        assert len(part) <= 4
        seen += part
    assert seen == [Instant(due + minute * MINUTE) for minute in range(6)]


def test_a_rule_that_runs_out_says_so() -> None:
    """The firing that is owed is handed out; there is none after it."""
    due = at("2400-02-29")
    found, _ = firings_due("0 0 29 2 *", "UTC", due, due, CatchUp.ONE, 100)
    assert found == [due]


@given(
    expression=st.sampled_from(
        ["* * * * *", "*/7 * * * *", "30 2 * * *", "30 1,2 * * 0", "0 0 1 * *", "15 */5 * * 1-5"]
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]),
    start=st.integers(0, 400 * 24 * 60),
    late=st.integers(0, 4000),
    seconds=st.integers(0, 59),
    policy=st.sampled_from([CatchUp.ONE, CatchUp.NONE]),
)
def test_skipping_ahead_finds_the_same_as_walking(
    expression: str, zone: str, start: int, late: int, seconds: int, policy: CatchUp
) -> None:
    """The last firing owed and the next one do not depend on how they are looked for."""
    first = next_firing(expression, zone, Instant(at("2025-01-01") + start * MINUTE))
    assert first is not None
    now = Instant(first + late * MINUTE + seconds * SECOND)
    last, following = first, next_firing(expression, zone, first)
    while following is not None and following <= now:
        last, following = following, next_firing(expression, zone, following)
    owed = [last] if policy is CatchUp.ONE or now - last < MINUTE else []
    assert firings_due(expression, zone, first, now, policy, 1) == (owed, following)


def test_years_of_missed_minutes_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making up for all of them with one task does not walk through each of them."""
    from taskyard.core import cron  # noqa: PLC0415

    calls = 0

    def counted(expression: str, timezone: str, after: Instant) -> Instant | None:
        nonlocal calls
        calls += 1
        return next_firing(expression, timezone, after)

    monkeypatch.setattr(cron, "next_firing", counted)
    now = at("2036-05-01T12:00")
    found, _ = firings_due("* * * * *", "UTC", at("2026-05-01T12:00"), now, CatchUp.ONE, 100)
    assert found == [now]
    assert calls < 100
