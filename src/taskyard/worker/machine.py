"""Capacity and description of this machine."""

import os
from pathlib import Path

from msgspec import Struct

from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology
from taskyard.runtimes.processes.cgroups import own_hierarchies

SLOTS_PER_CORE = 16
"""An attempt holds its slot from the commit that places it to the commit that ends it. Where the
work itself is short those two are most of that time, and with fewer slots the cores idle."""
SLOTS_MIN = 8


def capacity(
    slots: int | None = None, cpu_millis: int | None = None, memory_bytes: int | None = None
) -> Capacity:
    """Room for attempts: what is given, and for the rest what this process may use itself.

    That is the processors it may run on and the machine's memory, or less where cgroups say so;
    and ``SLOTS_PER_CORE`` attempts for each core, at least ``SLOTS_MIN``. Reads small files of
    the kernel, which never block.
    """
    cpu = cpu_millis if cpu_millis is not None else _cpu_millis()
    cores = -(-cpu // 1000)
    return Capacity(
        slots=slots if slots is not None else max(SLOTS_MIN, SLOTS_PER_CORE * cores),
        cpu_millis=cpu,
        memory_bytes=memory_bytes if memory_bytes is not None else _memory_bytes(),
    )


def _cpu_millis() -> int:
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    millis = cores * 1000
    for directory in _cgroups("cpu"):
        quota, period = _numbers(directory / "cpu.max", 2) or (
            *(_numbers(directory / "cpu.cfs_quota_us", 1) or (-1,)),
            *(_numbers(directory / "cpu.cfs_period_us", 1) or (0,)),
        )
        if quota > 0 and period > 0:
            millis = min(millis, max(1, quota * 1000 // period))
    return millis


def _memory_bytes() -> int:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for directory in _cgroups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _numbers(directory / name, 1)
            if limit and limit[0] > 0:
                size = min(size, limit[0])
    return size


def _cgroups(controller: str) -> list[Path]:
    """Directories of this process's cgroups for a controller, from the inside to the root."""
    try:
        own = own_hierarchies(
            Path("/proc/self/mountinfo").read_text(encoding="utf-8"),
            Path("/proc/self/cgroup").read_text(encoding="utf-8"),
        )
    except (OSError, ValueError):
        return []
    places = [own.unified, own.v1.get(controller)]
    found = []
    for place in places:
        if place is not None:
            start = Path(place)
            found += [start, *start.parents]
    return found


def _numbers(path: Path, count: int) -> tuple[int, ...] | None:
    """The numbers in a small file; None if it is not there or says something else."""
    try:
        words = path.read_text(encoding="ascii").split()
        return tuple(int(word) for word in words[:count]) if len(words) >= count else None
    except (OSError, ValueError):
        return None


class Machine(Struct, frozen=True):
    """What is said of a worker's machine, besides how much there is."""

    topology: Topology = Topology()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    counts_cores: bool = False
    """Whether nothing is known of its cores but their number, as on an engine's machine: then they
    are 0, 1, 2 and so on, in one node."""

    def topology_of(self, capacity: Capacity) -> Topology:
        """Its nodes and cores, given what it offers."""
        if not self.counts_cores:
            return self.topology
        cores = tuple(range(capacity.cpu_millis // 1000))
        return Topology((NumaNode(0, cores, capacity.memory_bytes),), pins_memory=False)
