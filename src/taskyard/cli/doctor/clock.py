"""The clock and the time zones."""

import time
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime

from taskyard.cli.doctor.finding import Finding, fail, ok, warn

_EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)
_MAX_DRIFT_S = 0.05
_SPAN_S = 0.2


def check_clock(
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Finding:
    """Whether the wall clock is plausible, and runs as fast as the monotonic one."""
    wall_start, start = wall(), monotonic()
    sleep(_SPAN_S)
    drift_s = (wall() - wall_start) - (monotonic() - start)
    now = datetime.fromtimestamp(wall_start, UTC)
    if now < _EARLIEST:
        return fail("clock", f"says {now:%Y-%m-%d %H:%M:%S} UTC", "Set it, and keep it with NTP.")
    if abs(drift_s) > _MAX_DRIFT_S:
        return warn(
            "clock",
            f"jumped by {drift_s * 1000:+.0f} ms within {_SPAN_S * 1000:.0f} ms",
            "Keep it with NTP that slews; schedules follow the wall clock.",
        )
    return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, steady")


def check_zones() -> Finding:
    """Whether there is a time zone database for cron rules."""
    count = len(zoneinfo.available_timezones())
    if count < 100:
        return warn(
            "time zones",
            f"{count} known: cron rules work in UTC only",
            "Install the package 'tzdata' of the system or from PyPI.",
        )
    return ok("time zones", f"{count} known")
