"""CPU allocation: the processors and the NUMA node that an attempt has to itself.

A worker's machine has one or more NUMA nodes. An attempt that asks for whole cores gets concrete
ones, all of them and its memory from a single node, which it never leaves: memory of another node
is slower, and what is promised should not depend on who else runs. No core is given twice.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

VIRTUAL_STRIDE: Final = 10_000
"""An over-provisioned core counts several times: core 3 also as 10003, 20003 and so on."""


class NumaNode(Struct, frozen=True):
    """What a NUMA node offers."""

    number: int
    cores: tuple[int, ...]
    """Processors as the kernel numbers them, in order; those kept back are left out."""
    memory_bytes: int


class Topology(Struct, frozen=True, omit_defaults=True):
    """What a worker's machine offers, node by node."""

    nodes: tuple[NumaNode, ...] = ()
    cpu_factor: int = 1
    """How often each core is offered; more than once is over-provisioning."""
    memory_factor: int = 1
    """How often the memory is offered."""
    pins_memory: bool = True
    """Whether the numbers of nodes are real; False where NUMA is left aside."""

    @property
    def free(self) -> "tuple[FreeNode, ...]":
        """All free nodes of a machine on which nothing runs."""
        return tuple(
            FreeNode(
                node.number,
                tuple(
                    core + turn * VIRTUAL_STRIDE
                    for turn in range(self.cpu_factor)
                    for core in node.cores
                ),
                node.memory_bytes * self.memory_factor,
            )
            for node in self.nodes
        )


class FreeNode(Struct, frozen=True):
    """What is left of a node."""

    number: int
    cores: tuple[int, ...]
    """In the order in which they are given."""
    memory_bytes: int


class CpuAllocation(Struct, frozen=True, omit_defaults=True):
    """The cores and memory of one node that are reserved for one attempt."""

    node: int
    cores: tuple[int, ...]
    """As they are counted: an over-provisioned core has several numbers."""
    memory_bytes: int = 0
    pins_memory: bool = True
    """Whether its memory has to come from the node."""

    @property
    def cpus(self) -> tuple[int, ...]:
        """Processors of the machine to pin it to, in order."""
        return tuple(sorted({core % VIRTUAL_STRIDE for core in self.cores}))

    @property
    def memory_nodes(self) -> tuple[int, ...]:
        """Nodes to take its memory from; none if any will do."""
        return (self.node,) if self.pins_memory else ()


class CoreTaken(ValueError):
    """A core was to be given to a second attempt, or came back a second time."""


def fits(free: Sequence[FreeNode], count: int, memory_bytes: int) -> bool:
    """Whether one node has so many cores and so much memory left."""
    return any(len(room.cores) >= count and room.memory_bytes >= memory_bytes for room in free)


def allocate(
    free: Sequence[FreeNode], count: int, memory_bytes: int, *, pins_memory: bool
) -> CpuAllocation | None:
    """Choose cores: on the node where they leave least, so that large gaps stay large.

    Different processors go before several numbers of one.
    """
    able = [one for one in free if len(one.cores) >= count and one.memory_bytes >= memory_bytes]
    if not able:
        return None
    best = min(able, key=lambda one: (len(one.cores), one.number))
    seen: dict[int, int] = {}
    order = []
    for core in best.cores:
        turn = seen.get(core % VIRTUAL_STRIDE, 0)
        seen[core % VIRTUAL_STRIDE] = turn + 1
        order.append((turn, core))
    order.sort()
    cores = tuple(core for _, core in order[:count])
    return CpuAllocation(best.number, cores, memory_bytes, pins_memory)


def without(
    topology: Topology, free: Sequence[FreeNode], allocation: CpuAllocation
) -> tuple[FreeNode, ...]:
    """What is left after an allocation.

    Cores that the worker no longer offers, as an attempt from before a change of settings may
    have, are nobody's; those that count for another node by now are that one's. Raises
    :class:`CoreTaken` for one that somebody has.
    """
    rooms = []
    for room in free:
        mine = _offered(topology, room.number) & set(allocation.cores)
        if not mine <= set(room.cores):
            raise CoreTaken(f"of {sorted(mine)} only {sorted(room.cores)} are free")
        kept = tuple(core for core in room.cores if core not in mine)
        taken = allocation.memory_bytes if room.number == allocation.node else 0
        rooms.append(replace(room, cores=kept, memory_bytes=room.memory_bytes - taken))
    return tuple(rooms)


def within(
    topology: Topology, free: Sequence[FreeNode], allocation: CpuAllocation
) -> tuple[FreeNode, ...]:
    """What is left after an allocation was returned. Raises :class:`CoreTaken` if it had before."""
    rooms = []
    for room in free:
        mine = _offered(topology, room.number) & set(allocation.cores)
        if mine & set(room.cores):
            raise CoreTaken(f"{sorted(mine & set(room.cores))} are free already")
        cores = tuple(sorted(mine.union(room.cores)))
        given = allocation.memory_bytes if room.number == allocation.node else 0
        rooms.append(replace(room, cores=cores, memory_bytes=room.memory_bytes + given))
    return tuple(rooms)


def _offered(topology: Topology, number: int) -> set[int]:
    return {core for room in topology.free if room.number == number for core in room.cores}
