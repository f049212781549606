"""Instants: exact integers in, text out."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.instants import (
    Instant,
    after,
    from_datetime,
    rfc3339,
    seconds_between,
    to_datetime,
)

MOMENTS = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(9999, 12, 30),  # noqa: DTZ001 - Hypothesis adds the zone
    timezones=st.timezones(),
)


@given(MOMENTS)
def test_an_instant_is_exact_to_the_microsecond(moment: datetime) -> None:
    """There and back again loses nothing, in any zone."""
    assert to_datetime(from_datetime(moment)) == moment.astimezone(UTC)


@given(MOMENTS)
def test_text_is_utc_with_microseconds(moment: datetime) -> None:
    """What is written can be read back as the same instant."""
    text = rfc3339(from_datetime(moment))
    assert len(text) == len("2026-11-22T03:04:05.000006Z")
    assert from_datetime(datetime.fromisoformat(text)) == from_datetime(moment)


def test_a_naive_time_is_refused() -> None:
    """Nobody can say when it is."""
    with pytest.raises(ValueError, match="needs a zone"):
        from_datetime(datetime(2026, 1, 1))  # noqa: DTZ001


def test_arithmetic_counts_seconds() -> None:
    """Seconds may have fractions and be negative."""
    start = from_datetime(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))))
    assert rfc3339(start) == "2025-12-31T22:00:00.000000Z"
    assert after(start, 1.5) - start == 1_500_000
    assert after(start, -1.5) - start == -1_500_000
    assert seconds_between(start, after(start, 0.25)) == 0.25
    assert seconds_between(Instant(5), Instant(0)) < 0
