"""How many tasks are in each state, kept current from the announced changes."""

from collections import defaultdict
from collections.abc import Sequence

from taskyard.core.changes import Change
from taskyard.core.ids import WorkspaceName
from taskyard.core.states import WAITING, TaskState
from taskyard.ports.changes import Counts
from taskyard.ports.dispatching import DispatchStore
from taskyard.services.notifications.bus import Bus


class TaskCounters:
    """Counts in memory, for admission and metrics; the store's own counters are the truth."""

    def __init__(self, bus: Bus) -> None:
        self._counts: defaultdict[WorkspaceName, dict[TaskState, int]] = defaultdict(dict)
        bus.listen(self._on_changes)

    async def load(self, store: DispatchStore) -> None:
        """Begin with what the store has. Call once, before anything changes."""
        self.replace(await store.counts())

    def replace(self, counts: Counts) -> None:
        """Begin with these, as of the moment from which changes are announced."""
        self._counts.clear()
        for (workspace, state), total in counts.items():
            self._counts[workspace][state] = total

    def waiting(self, workspace: WorkspaceName) -> int:
        """Tasks of a workspace that have not ended and do not run."""
        counts = self._counts.get(workspace)
        return sum(counts.get(state, 0) for state in WAITING) if counts is not None else 0

    def running(self, workspace: WorkspaceName) -> int:
        """Tasks of a workspace that run."""
        counts = self._counts.get(workspace)
        return counts.get(TaskState.RUNNING, 0) if counts is not None else 0

    def by_workspace(self) -> dict[WorkspaceName, dict[TaskState, int]]:
        """Tasks of each workspace in each state."""
        return {workspace: dict(counts) for workspace, counts in self._counts.items()}

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            counts = self._counts[change.workspace]
            if change.was is change.state and change.kind != "deleted":
                continue
            if change.was is not None:
                counts[change.was] = counts.get(change.was, 0) - 1
            if change.kind != "deleted":
                counts[change.state] = counts.get(change.state, 0) + 1
