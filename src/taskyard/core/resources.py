"""CPU, memory and process limits: what a task asks for and what a worker offers."""

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.scheduling.cpu_allocation import CpuAllocation


class Resources(Struct, frozen=True, omit_defaults=True):
    """What an attempt reserves on its worker and may not exceed.

    Anything left out is neither reserved nor limited; such an attempt still takes its slots.
    """

    cpu_millis: int | None = None
    """Thousandths of a core."""
    memory_bytes: int | None = None
    pids: int | None = None
    """Processes and threads alive at one time; limited, not reserved."""
    slots: int = 1
    """How many of a worker's slots it takes; 0 for what runs without a process of its own."""
    cores: int | None = None
    """Whole cores to itself, all of one NUMA node, with its memory; in place of ``cpu_millis``."""
    allotted: CpuAllocation | None = None
    """Which ones it got; of an attempt, never of a task."""

    @property
    def millis(self) -> int:
        """Thousandths of a core it reserves."""
        return (self.cpu_millis or 0) if self.cores is None else self.cores * 1000

    def granted(self, allotted: CpuAllocation | None) -> "Resources":
        """The same as an attempt holds it."""
        return self if allotted == self.allotted else replace(self, allotted=allotted)


class Capacity(Struct, frozen=True):
    """Room on a worker: what it has in total, or what is left of it."""

    slots: int
    """How many attempts may run at once, whatever they ask for."""
    cpu_millis: int
    memory_bytes: int

    def minus(self, asked: Resources) -> "Capacity":
        """What is left after one more attempt; may go below zero, see :meth:`fits`."""
        return Capacity(
            self.slots - asked.slots,
            self.cpu_millis - asked.millis,
            self.memory_bytes - (asked.memory_bytes or 0),
        )

    def plus(self, returned: Resources) -> "Capacity":
        """What there is after one attempt gave back its room."""
        return Capacity(
            self.slots + returned.slots,
            self.cpu_millis + returned.millis,
            self.memory_bytes + (returned.memory_bytes or 0),
        )

    def fits(self, asked: Resources) -> bool:
        """Whether one more attempt that asks for this has room here."""
        return (
            self.slots >= asked.slots
            and self.cpu_millis >= asked.millis
            and self.memory_bytes >= (asked.memory_bytes or 0)
        )
