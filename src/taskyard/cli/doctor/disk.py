"""The disk below the data directory: room, and how long it takes to make data durable."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from taskyard.cli.doctor.finding import Finding, fail, ok, warn
from taskyard.cli.quantities import tell_duration, tell_size

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
        return [fail("data", f"{place} is no directory", "Choose another --data.")]
    if not os.access(place, os.W_OK | os.X_OK):
        hint = "Choose another --data, or run as its owner."
        return [fail("data", f"{place} cannot be written", hint)]
    there = f"{data.absolute()}" if place == data.absolute() else f"{place} (to be created below)"
    return [ok("data", there), check_room(place), check_sync(place)]


def check_room(place: Path) -> Finding:
    """How much room there is."""
    free = shutil.disk_usage(place).free
    detail = f"{tell_size(free)} free"
    if free < _TOO_LITTLE_BYTES:
        return fail("disk space", detail, "Free some, or choose a --data on another disk.")
    if free < _LITTLE_BYTES:
        return warn("disk space", detail, "Free some; output of tasks is kept there.")
    return ok("disk space", detail)


def check_sync(place: Path) -> Finding:
    """How long a write takes to be durable: every submit waits for one."""
    try:
        took_s = sync_times(place)
    except OSError as error:
        return fail("disk sync", f"a test file cannot be synced: {error}", "Check the disk.")
    middle_s = took_s[len(took_s) // 2]
    detail = f"{tell_duration(middle_s)} each, {tell_duration(took_s[-1])} at worst"
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
