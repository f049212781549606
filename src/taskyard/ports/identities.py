"""The port for workspaces: which there are, and which number of the machine belongs to each."""

from typing import Protocol

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant


class WorkspaceUserStore(Protocol):
    """User ids by workspace. One that was given out is never given to another workspace."""

    async def user_id(self, workspace: WorkspaceName, first: int, last: int) -> int:
        """The user id of a workspace, the same each time.

        The first time, it is the lowest from ``first`` to ``last`` above all that were given out.
        Raises ``Conflict`` if there is none left.
        """
        ...

    async def workspaces(self, now: Instant) -> dict[WorkspaceName, bool]:
        """All that have a valid token, a user, a task or a function; whether they have functions
        that no container holds.
        """
        ...
