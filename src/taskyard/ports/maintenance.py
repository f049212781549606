"""The maintenance port: a switch of the whole installation, as durable as the tasks."""

from typing import Protocol

from msgspec import Struct

from taskyard.core.instants import Instant


class MaintenanceRecord(Struct, frozen=True):
    """Whether it is on."""

    is_on: bool
    changed_at: Instant | None = None
    """Since when; None if it never was changed."""


class MaintenanceStore(Protocol):
    """Raises as the store ports do."""

    async def read(self) -> MaintenanceRecord:
        """As it is."""
        ...

    async def put(self, *, is_on: bool, now: Instant) -> MaintenanceRecord:
        """Set it; setting it to what it is changes nothing. Answers with what it is then."""
        ...
