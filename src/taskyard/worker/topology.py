"""NUMA nodes of this machine: their processors and their memory, less what is kept back."""

import os
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import NumaNode, Topology

_NODES: Final = Path("/sys/devices/system/node")
_TOTAL: Final = re.compile(r"MemTotal:\s+(\d+) kB")


class Holdings(Struct, frozen=True):
    """What of a machine is for attempts."""

    reserved_cores: frozenset[int] = frozenset()
    """Processors kept back for others."""
    memory_percent: int = 100
    """Share of each node's memory that is offered, 50 to 100."""
    cpu_factor: int = 1
    """How often each core is offered, 1 to 20."""
    memory_factor: int = 1
    """How often the memory is offered, 1 to 20."""
    numa: bool = True
    """Whether nodes are told apart; otherwise everything is node 0, and memory is not pinned."""


def topology(holdings: Holdings, memory_bytes: int, root: Path = _NODES) -> Topology:
    """The machine's nodes, with the processors this process may use.

    Where the kernel does not tell of nodes there is one, with ``memory_bytes``. Reads small files
    of the kernel, which never block.
    """
    usable = _usable_cores() - holdings.reserved_cores
    found = _nodes(root, usable) if holdings.numa else []
    # What is left after a core list that names none of them counts for nothing.
    found = [node for node in found if node.cores]
    pinned = bool(found)
    if not found:
        found = [NumaNode(0, tuple(sorted(usable)), memory_bytes)]
    else:
        found = _bounded(found, memory_bytes)
    offered = tuple(
        NumaNode(one.number, one.cores, one.memory_bytes * holdings.memory_percent // 100)
        for one in found
    )
    return Topology(offered, holdings.cpu_factor, holdings.memory_factor, pinned)


def within_holdings(capacity: Capacity, holdings: Holdings) -> Capacity:
    """The sum of what is offered: what the machine has, less what is kept back, times factors."""
    kept = len(_usable_cores() & holdings.reserved_cores) * 1000
    return Capacity(
        capacity.slots,
        max(0, capacity.cpu_millis - kept) * holdings.cpu_factor,
        capacity.memory_bytes * holdings.memory_percent // 100 * holdings.memory_factor,
    )


def cores_in(text: str) -> frozenset[int]:
    """The numbers in a list such as ``0-2,8``. Raises ``ValueError``."""
    cores: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.strip().partition("-")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers or numbers[0] < 0 or numbers[-1] > 9999:
            raise ValueError(f"{part!r} is no range of cores from 0 to 9999")
        cores.update(numbers)
    return frozenset(cores)


def _usable_cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _nodes(root: Path, usable: frozenset[int]) -> list[NumaNode]:
    nodes = []
    try:
        for directory in sorted(root.glob("node[0-9]*"), key=lambda path: int(path.name[4:])):
            cores = cores_in((directory / "cpulist").read_text(encoding="ascii"))
            total = _TOTAL.search((directory / "meminfo").read_text(encoding="ascii"))
            memory = int(total.group(1)) << 10 if total else 0
            nodes.append(NumaNode(int(directory.name[4:]), tuple(sorted(cores & usable)), memory))
    except (OSError, ValueError):
        return []
    return nodes


def _bounded(nodes: list[NumaNode], memory_bytes: int) -> list[NumaNode]:
    """Together no more memory than ``memory_bytes``, where a cgroup allows less than there is."""
    total = sum(node.memory_bytes for node in nodes)
    if total <= memory_bytes or total == 0:
        return nodes
    return [
        NumaNode(node.number, node.cores, node.memory_bytes * memory_bytes // total)
        for node in nodes
    ]
