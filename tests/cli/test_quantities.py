"""Durations, sizes and moments."""

from datetime import UTC, datetime, timedelta

import pytest

from taskyard.cli.errors import UsageError
from taskyard.cli.quantities import (
    format_duration,
    format_moment,
    format_size,
    moment,
    moment_or_duration,
    seconds,
    size_bytes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("500ms", 0.5), ("1h30m", 5400), ("2d", 172800), ("1.5", 1.5), ("0", 0)],
)
def test_reads_durations(text: str, expected: float) -> None:
    """Numbers with units, in a row, or bare seconds."""
    assert seconds(text, "--x") == expected


@pytest.mark.parametrize("text", ["", "s", "5x", "-3s", "-3", "nan", "inf", "1h x", "1s2"])
def test_refuses_other_durations(text: str) -> None:
    """Anything else is refused by the name of its flag."""
    with pytest.raises(UsageError, match="--x"):
        seconds(text, "--x")


def test_reads_sizes() -> None:
    """Powers of 1024 with an i, of 1000 without."""
    assert size_bytes("512MiB", "--x") == 512 * 1024**2
    assert size_bytes("2G", "--x") == 2 * 1000**3
    assert size_bytes("100", "--x") == 100
    with pytest.raises(UsageError):
        size_bytes("much", "--x")


def test_reads_moments() -> None:
    """A time keeps its zone; a duration counts from now."""
    assert moment("2026-12-01T08:00:00+01:00", "--x") == "2026-12-01T07:00:00Z"
    soon = datetime.fromisoformat(moment_or_duration("1h", "--x"))
    assert timedelta(minutes=59) < soon - datetime.now(UTC) <= timedelta(hours=1)
    with pytest.raises(UsageError):
        moment("soon", "--x")


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [(0.35, "350 ms"), (2.14, "2.1 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (86400, "1 d")],
)
def test_tells_durations(duration_s: float, words: str) -> None:
    """One or two units, whichever suit."""
    assert format_duration(duration_s) == words


def test_tells_moments_and_sizes() -> None:
    """Moments are told from now, sizes in the unit that suits."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert format_moment(now - timedelta(minutes=3), now) == "3 min ago"
    assert format_moment(now + timedelta(hours=2), now) == "in 2 h"
    assert format_moment(None, now) == ""
    assert (format_size(0), format_size(1536), format_size(None)) == ("0 B", "1.5 KiB", "")
    assert format_size(5 * 1024**5) == "5120.0 TiB"
