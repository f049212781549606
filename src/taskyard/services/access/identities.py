"""Decides as whom and how isolated the work of each workspace runs, and which may be served."""

from collections.abc import Iterable, Mapping
from typing import Final

from taskyard.core.access.work_identity import SERVER, Identity, Sandbox, WorkRules
from taskyard.core.errors import Conflict
from taskyard.core.ids import WorkspaceName
from taskyard.ports.workspaces import WorkspaceUserStore

_WHAT_TO_DO: Final = (
    "Run the server as root, or install bubblewrap; or set workspaces_share_user = true if they may"
    " trust each other"
)


class Identities:
    """Applies the operator's rules; remembers users of workspaces, which are kept in the store."""

    def __init__(
        self,
        store: WorkspaceUserStore | None = None,
        first: int = 0,
        last: int = 0,
        rules: WorkRules = WorkRules(),  # noqa: B008 - frozen
    ) -> None:
        """Prepare.

        Args:
            store: where users of workspaces are kept; only for rules that need none it may be None.
            first: lowest user id that may be given to a workspace.
            last: highest of them.
            rules: what the operator decided; all work runs as the server itself by default.
        """
        self._store = store
        self._first = first
        self._last = last
        self.rules = rules
        self._known: dict[WorkspaceName, Identity] = {}
        self._served: set[WorkspaceName] = set()
        """Workspaces that exist."""

    async def of(self, workspace: WorkspaceName) -> Identity:
        """Which user the work of a workspace runs as.

        Raises ``Conflict`` if no user id is left for it, or if it may not be served.
        """
        self.admit(workspace)
        user = self.rules.of(workspace).user
        if isinstance(user, Identity):
            return user
        if user == "server" or self._store is None:
            return SERVER
        known = self._known.get(workspace)
        if known is None:
            uid = await self._store.user_id(workspace, self._first, self._last)
            known = self._known[workspace] = Identity(uid, uid)
        return known

    def sandbox_of(self, workspace: WorkspaceName) -> Sandbox | None:
        """What its work runs in, whatever commands ask for themselves; functions and builds, where
        their workspace has no user of its own.
        """
        return self.rules.of(workspace).sandbox

    def serve(self, workspaces: Mapping[WorkspaceName, bool]) -> None:
        """Begin with those that exist; with whether they have functions.

        Raises ``Conflict`` if they may not be served together.
        """
        for workspace, has_functions in sorted(workspaces.items()):
            self.admit(workspace, functions=has_functions and self.rules.process_functions)

    def heard(self, workspaces: Iterable[WorkspaceName]) -> None:
        """Other control planes serve these: they count where others are admitted."""
        if not self._served.issuperset(workspaces):
            self._served = self._served.union(workspaces)

    def admit(self, workspace: WorkspaceName, *, functions: bool = False) -> None:
        """Serve a workspace from now on; with ``functions`` those as well.

        Raises ``Conflict`` if nothing keeps its work from that of another one, or the other way
        round, and the operator did not say that they may share; or if functions are turned off.
        """
        if functions and not self.rules.process_functions:
            raise Conflict(
                "this server runs no functions as processes (process_functions = false); deploy an"
                " image, or have the operator allow them"
            )
        if workspace in self._served:
            return
        after = self._served | {workspace}
        if not self.rules.may_share and len(after) > 1:
            unwalled = [one for one in sorted(after) if not self.rules.of(one).is_wall]
            if unwalled:
                other = next(one for one in sorted(self._served) if one != workspace)
                raise Conflict(
                    f"workspaces {other!r} and {workspace!r} cannot both be served:"
                    f" work of {unwalled[0]!r} would run as the server itself and could reach"
                    f" everything of the others. {_WHAT_TO_DO}"
                )
        self._served = after
