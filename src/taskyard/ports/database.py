"""What operators want to know of a database that is a server of its own."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class DatabaseCondition(Struct, frozen=True):
    """How it was when it was last looked at."""

    oldest_snapshot_s: float
    """Age of the oldest transaction that keeps vacuum from removing rows; 0 without one. Those of
    other roles count if ours may see them (``pg_read_all_stats``)."""
    dead_tuples: Mapping[str, int]
    """Rows that vacuum has yet to remove, as estimated, by table: of those that change most."""


class DatabaseWatch(Protocol):
    """Looks at it."""

    async def condition(self) -> DatabaseCondition:
        """How it is now. Raises as the store ports do."""
        ...
