"""The machine a report was made on."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

_CALLS = 10_000


class Machine(msgspec.Struct, frozen=True):
    """What a reader needs to judge the figures. `load_1m` is the load before the first figure:
    above half a core, somebody else was at work too. `call_ns` is what one call of a method costs
    this build of Python on this machine at this hour: both make a difference.
    """

    cores: int
    processor: str
    memory_bytes: int
    kernel: str
    python: str
    call_ns: float
    taskyard: str
    filesystem: str
    load_1m: float


def describe(data: Path) -> Machine:
    """This machine, and the kind of file system the data directories are on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_first_field(Path("/proc/cpuinfo"), "model name"),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=platform.python_version(),
        call_ns=_call_ns(),
        taskyard=_version(),
        filesystem=_filesystem(data),
        load_1m=os.getloadavg()[0],
    )


def summary(machine: Machine) -> str:
    """The machine in a line or two; the second warns of one that was busy before the start."""
    line = (
        f"{machine.cores} cores ({machine.processor}), {machine.memory_bytes / 1e9:.0f} GB, "
        f"Linux {machine.kernel}, Python {machine.python} "
        f"({machine.call_ns:.0f} ns a call), {machine.filesystem}, "
        f"Taskyard {machine.taskyard}"
    )
    if machine.load_1m > machine.cores / 4:
        line += (
            f"\nThe load was {machine.load_1m:.1f} before the start: somebody else is at work, "
            "and the figures are worse than the machine's."
        )
    return line


class _Counter:
    """Something with a method to call."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int) -> None:
        self.count += number


def _call_ns() -> float:
    """The best of many rounds, so that one interruption does not show."""
    counter, rounds = _Counter(), []
    for _ in range(50):
        begin = time.perf_counter_ns()
        for number in range(_CALLS):
            counter.add(number)
        rounds.append(time.perf_counter_ns() - begin)
    return min(rounds) / _CALLS


def _version() -> str:
    try:
        return version("taskyard")
    except PackageNotFoundError:
        return "not installed"


def _first_field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _filesystem(path: Path) -> str:
    """The type of the mount with the longest mount point above the path."""
    best, kind = "", "unknown"
    resolved = path.resolve()
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, mounted_kind, *_ = line.split()
        if resolved.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, mounted_kind
    return kind
