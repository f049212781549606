"""How much output a workspace, and a task, may keep on disk.

An attempt is given a share of what is left, as a limit of each of its streams; beyond it the
streams are cut with the marker that every limit leaves. What runs may take a workspace somewhat
beyond its quota; then it submits nothing more until output is gone.
"""

from collections.abc import Callable
from typing import Final

import structlog

from taskyard.core.errors import Overloaded, TaskyardError
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.ports.clock import Clock
from taskyard.ports.logs import OutputTotals

TASK_BYTES: Final = 1 << 30
EVERY_S: Final = 2.0
LEAST_BYTES: Final = 4096
"""What every stream may keep, so that it can still say why it fails."""
RETRY_S: Final = 60.0
_STREAMS: Final = 2

log = structlog.get_logger(__name__)


class OutputQuota:
    """Knows what is kept, and what more there may be."""

    def __init__(
        self,
        store: OutputTotals,
        clock: Clock,
        running: Callable[[WorkspaceName], int],
        workspace_bytes: int | None = None,
        task_bytes: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            store: knows how much is kept.
            clock: tells when to look again.
            running: how many tasks of a workspace run now.
            workspace_bytes: what one workspace may keep; anything when None.
            task_bytes: the same of one task, all its attempts together.
        """
        self._store = store
        self._clock = clock
        self._running = running
        self.workspace_bytes = workspace_bytes
        self._task_bytes = task_bytes
        self._kept: dict[WorkspaceName, int] = {}

    async def load(self) -> None:
        """Learn what is kept. Raises as the store does."""
        self._kept = await self._store.totals()

    async def run(self) -> None:
        """Keep up with what is kept, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await self.load()
            except TaskyardError as error:
                log.warning("output_totals_unknown", reason=str(error))

    def kept(self, workspace: WorkspaceName) -> int:
        """Bytes of output that a workspace keeps, as of a moment ago."""
        return self._kept.get(workspace, 0)

    def by_workspace(self) -> dict[WorkspaceName, int]:
        """The same of all workspaces."""
        return dict(self._kept)

    def admit(self, workspace: WorkspaceName) -> None:
        """Raise ``Overloaded`` if a workspace keeps so much that it may submit nothing."""
        most, kept = self.workspace_bytes, self.kept(workspace)
        if most is not None and kept >= most:
            raise Overloaded(
                f"this workspace keeps {kept} bytes of output, and may keep {most}; delete tasks "
                "that have ended, wait for them to be forgotten, or ask the operator for more "
                "(output_quota_bytes)",
                RETRY_S,
            )

    async def limit(
        self, workspace: WorkspaceName, task_id: TaskId, number: int, asked: int
    ) -> int:
        """Bytes that each stream of a new attempt may keep, ``asked`` at most.

        ``number`` is the attempt's. Raises as the store does.
        """
        limit = asked
        if self.workspace_bytes is not None:
            left = self.workspace_bytes - self.kept(workspace)
            limit = min(limit, left // (_STREAMS * (1 + self._running(workspace))))
        if self._task_bytes is not None:
            earlier = await self._store.of_task(task_id) if number > 1 else 0
            limit = min(limit, (self._task_bytes - earlier) // _STREAMS)
        return max(limit, min(asked, LEAST_BYTES))
