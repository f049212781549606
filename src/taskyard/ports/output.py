"""The port of whoever watches how much output is kept."""

from typing import Protocol

from taskyard.core.ids import TaskId, WorkspaceName


class OutputTotals(Protocol):
    """Sizes of the output of ended attempts. Raises as the store ports do."""

    async def totals(self) -> dict[WorkspaceName, int]:
        """Bytes kept for each workspace that ever had any."""
        ...

    async def of_task(self, task_id: TaskId) -> int:
        """Bytes kept of the attempts at one task; 0 for an unknown one."""
        ...
