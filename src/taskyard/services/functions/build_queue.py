"""Whose build is next: fair between workspaces, however much each has to build.

1. The versions of one function are built one after another; a function with versions left waits
   behind the other functions of its workspace.
2. A place that gets free goes to the workspace that has fewest builds under way; among equals to
   the one that waits longest since its last turn, or since it came.
3. A workspace that is alone may use all places. One that comes then need not wait until one gets
   free: while all are one workspace's, each other one may have one build beyond them. Where there
   is one place only, there is never more than one build.
"""

from collections import deque

from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import WorkspaceName


class BuildQueue:
    """Versions that wait to be built, and what is under way. Pure; starts nothing.

    Args:
        places: builds at once.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._versions: dict[FunctionId, deque[int]] = {}
        """Of functions that have any to build; the first may be under way."""
        self._owners: dict[FunctionId, WorkspaceName] = {}
        self._waiting: dict[WorkspaceName, deque[FunctionId]] = {}
        """Functions that have none under way; workspaces in the order of their turns."""
        self._running: dict[WorkspaceName, int] = {}
        self._counts: dict[WorkspaceName, int] = {}
        """Versions that wait."""

    def add(self, workspace: WorkspaceName, function_id: FunctionId, number: int) -> None:
        """Let a version wait, behind all others of its function."""
        versions = self._versions.get(function_id)
        self._counts[workspace] = self._counts.get(workspace, 0) + 1
        if versions is not None:
            versions.append(number)
            return
        self._versions[function_id] = deque([number])
        self._owners[function_id] = workspace
        self._waiting.setdefault(workspace, deque()).append(function_id)

    def take(self) -> tuple[WorkspaceName, FunctionId, int] | None:
        """What is to be built now; it is under way until :meth:`ended`. None if there is nothing,
        or no place.
        """
        # Equals are in the order of their turns.
        workspace = min(self._waiting, key=lambda one: self._running.get(one, 0), default=None)
        if workspace is None or not self._has_place(workspace):
            return None
        functions = self._waiting.pop(workspace)
        function_id = functions.popleft()
        if functions:
            self._waiting[workspace] = functions
        self._running[workspace] = self._running.get(workspace, 0) + 1
        self._count_down(workspace)
        return workspace, function_id, self._versions[function_id][0]

    def _has_place(self, workspace: WorkspaceName) -> bool:
        if sum(self._running.values()) < self.places:
            return True
        return self.places > 1 and len(self._running) == 1 and workspace not in self._running

    def _count_down(self, workspace: WorkspaceName) -> None:
        self._counts[workspace] -= 1
        if not self._counts[workspace]:
            del self._counts[workspace]

    def ended(self, function_id: FunctionId) -> bool:
        """The build of a function that was under way is over; whether it was its last one."""
        workspace = self._owners[function_id]
        self._running[workspace] -= 1
        if not self._running[workspace]:
            del self._running[workspace]
        versions = self._versions[function_id]
        versions.popleft()
        if versions:
            self._waiting.setdefault(workspace, deque()).append(function_id)
            return False
        del self._versions[function_id], self._owners[function_id]
        return True

    def waiting(self, workspace: WorkspaceName) -> int:
        """How many versions of a workspace wait."""
        return self._counts.get(workspace, 0)

    def reason(self, function_id: FunctionId, number: int) -> str | None:
        """Why a version waits; None if it does not."""
        versions = self._versions.get(function_id, deque())
        if number not in versions:
            return None
        if versions[0] != number:
            return f"waiting for the build of version {versions[0]} of this function"
        functions = self._waiting.get(self._owners[function_id], deque())
        if function_id not in functions:
            return None
        under_way, ahead = sum(self._running.values()), functions.index(function_id)
        return (
            f"waiting for one of {self.places} places for builds: {under_way} under way, "
            f"{ahead} of this workspace ahead"
        )
