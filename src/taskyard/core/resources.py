"""CPU, memory and process limits: what a task asks for and what a worker offers."""

from msgspec import Struct


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
            self.cpu_millis - (asked.cpu_millis or 0),
            self.memory_bytes - (asked.memory_bytes or 0),
        )

    def plus(self, returned: Resources) -> "Capacity":
        """What there is after one attempt gave back its room."""
        return Capacity(
            self.slots + returned.slots,
            self.cpu_millis + (returned.cpu_millis or 0),
            self.memory_bytes + (returned.memory_bytes or 0),
        )

    def fits(self, asked: Resources) -> bool:
        """Whether one more attempt that asks for this has room here."""
        return (
            self.slots >= asked.slots
            and self.cpu_millis >= (asked.cpu_millis or 0)
            and self.memory_bytes >= (asked.memory_bytes or 0)
        )
