"""Python, SQLite, open files, the clock, time zones, and the disk of the data directory."""

import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from taskyard.cli.doctor.finding import Finding, fail, ok, warn
from taskyard.cli.quantities import format_duration, format_size

_MIN_PYTHON = (3, 11)
_MIN_SQLITE = (3, 35, 0)
_FEW_FILES = 4096


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether Python is new enough."""
    shown = ".".join(map(str, version))
    if version < _MIN_PYTHON:
        return fail("python", shown, "Install Python 3.11 or newer.")
    return ok("python", shown)


def check_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    """Whether SQLite is new enough for the queries, and may be used by threads."""
    shown = ".".join(map(str, version))
    if version < _MIN_SQLITE:
        return fail("sqlite", shown, "Use a Python that is built with SQLite 3.35 or newer.")
    if sqlite3.threadsafety == 0:
        return fail("sqlite", f"{shown}, not thread-safe", "Use another build of Python.")
    return ok("sqlite", shown)


def check_files(limits: tuple[int, int] | None = None) -> Finding:
    """How many files, and with them connections, the server may have open."""
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = "no limit" if soft == resource.RLIM_INFINITY else f"{soft}"
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        more = "no limit" if hard == resource.RLIM_INFINITY else str(hard)
        return warn(
            "open files",
            f"{allowed} at most (can be raised to {more})",
            f"Raise it: ulimit -n {_FEW_FILES}, or LimitNOFILE= in the service file.",
        )
    return ok("open files", allowed)


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
        return fail(
            "clock", f"says {now:%Y-%m-%d %H:%M:%S} UTC", "Set it, and synchronize it with NTP."
        )
    if abs(drift_s) > _MAX_DRIFT_S:
        return warn(
            "clock",
            f"jumped by {drift_s * 1000:+.0f} ms within {_SPAN_S * 1000:.0f} ms",
            "Synchronize it with an NTP client that slews; schedules follow the wall clock.",
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


_LITTLE_BYTES = 1024**3
_TOO_LITTLE_BYTES = 100 * 1024**2
_SLOW_S = 0.02
_ROUNDS = 20


def existing_part(data: Path) -> Path:
    """The data directory, or where it would be created."""
    place = data.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def check_data(data: Path) -> list[Finding]:
    """Whether the data directory can be used, has room, and is fast enough."""
    place = existing_part(data)
    if not place.is_dir():
        return [fail("data", f"{place} is not a directory", "Choose another --data.")]
    if not os.access(place, os.W_OK | os.X_OK):
        hint = "Choose another --data, or run as its owner."
        return [fail("data", f"{place} is not writable", hint)]
    there = f"{data.absolute()}" if place == data.absolute() else f"{place} (to be created below)"
    return [ok("data", there), check_room(place), check_sync(place)]


def check_room(place: Path) -> Finding:
    """How much room there is."""
    free = shutil.disk_usage(place).free
    detail = f"{format_size(free)} free"
    if free < _TOO_LITTLE_BYTES:
        return fail("disk space", detail, "Free some space, or choose --data on another disk.")
    if free < _LITTLE_BYTES:
        return warn("disk space", detail, "Free some space; the output of tasks is stored there.")
    return ok("disk space", detail)


def check_sync(place: Path) -> Finding:
    """How long a write takes to be durable: every submit waits for one."""
    try:
        took_s = sync_times(place)
    except OSError as error:
        return fail("disk sync", f"a test file cannot be synced: {error}", "Check the disk.")
    middle_s = took_s[len(took_s) // 2]
    detail = f"{format_duration(middle_s)} each, {format_duration(took_s[-1])} at worst"
    if middle_s > _SLOW_S:
        return warn("disk sync", detail, "Use a faster disk for --data; submits wait for it.")
    return ok("disk sync", f"{middle_s * 1000:.2f} ms each, {took_s[-1] * 1000:.2f} ms at worst")


def sync_times(place: Path) -> list[float]:
    """Seconds that small writes took to be durable, in ascending order."""
    took: list[float] = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(_ROUNDS):
            file.write(b"x" * 4096)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return sorted(took)
