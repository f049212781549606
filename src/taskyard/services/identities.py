"""Decides as whom the work of each workspace runs."""

from taskyard.core.identity import SERVER, Identity
from taskyard.core.ids import WorkspaceName
from taskyard.ports.identities import WorkspaceUserStore


class Identities:
    """A user of the machine for every workspace, kept in the store and remembered here."""

    def __init__(
        self, store: WorkspaceUserStore | None = None, first: int = 0, last: int = 0
    ) -> None:
        """Prepare.

        Args:
            store: where users of workspaces are kept; None runs all work as the server itself.
            first: lowest user id that may be given to a workspace.
            last: highest of them.
        """
        self._store = store
        self._first = first
        self._last = last
        self._known: dict[WorkspaceName, Identity] = {}

    async def of(self, workspace: WorkspaceName) -> Identity:
        """As whom work of a workspace runs. Raises ``Conflict`` if no user id is left for it."""
        if self._store is None:
            return SERVER
        known = self._known.get(workspace)
        if known is None:
            uid = await self._store.user_id(workspace, self._first, self._last)
            known = self._known[workspace] = Identity(uid, uid)
        return known
