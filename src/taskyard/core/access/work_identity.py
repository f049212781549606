"""Which user work runs as on a worker, how isolated it is, and which user a task may ask for."""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkspaceName


class Identity(Struct, frozen=True):
    """A user and group on the worker's machine; without ``uid``, the server's own."""

    uid: int | None = None
    gid: int | None = None
    """Set along with ``uid``; there are no supplementary groups."""


SERVER: Final = Identity()
"""Work runs as the server itself does."""


class Sandbox(Struct, frozen=True):
    """A sandbox that the operator requires, regardless of what commands ask for."""

    directories: tuple[str, ...] | None = ()
    """What commands may work in and write to besides their own directories, with everything
    below it; None: whatever they name as ``cwd``, but for the data directory."""


class WorkRule(Struct, frozen=True):
    """User and isolation of a workspace's work."""

    user: Literal["workspace", "server"] | Identity = "server"
    """A user of the workspace's own, the server's, or a given one."""
    sandbox: Sandbox | None = None

    @property
    def is_wall(self) -> bool:
        """Whether work is kept from the server and from other workspaces."""
        return self.user != "server" or self.sandbox is not None


class WorkRules(Struct, frozen=True):
    """What the operator decided about the work of all workspaces."""

    default: WorkRule = WorkRule()
    by_workspace: Mapping[WorkspaceName, WorkRule] = {}
    may_share: bool = True
    """Whether several workspaces may be served although nothing keeps them apart."""
    process_functions: bool = True
    """Whether functions may run as processes of the machine; those that are images may anyway."""
    obstacle: str = ""
    """Why there is no wall by default; empty if there is one."""

    def of(self, workspace: WorkspaceName) -> WorkRule:
        """For one workspace."""
        return self.by_workspace.get(workspace, self.default)

    @property
    def changes_user(self) -> bool:
        """Whether any work runs as another user than the server's."""
        rules = (self.default, *self.by_workspace.values())
        return any(rule.user != "server" for rule in rules)

    @property
    def isolation(self) -> Literal["users", "sandbox", "none"]:
        """What keeps commands apart that the operator said nothing special about."""
        if self.default.user != "server":
            return "users"
        return "none" if self.default.sandbox is None else "sandbox"


NOBODY: Final = frozenset({"nobody", "65534"})
"""The user without rights. Shared by workspaces it would be no wall between them, so that where
workspaces have users of their own, a task that asks for it gets its workspace's."""


class UserRule(Struct, frozen=True):
    """Which users a task may ask to run as."""

    allowed: frozenset[str] | None = None
    """Names or numbers; None allows every user that the server can become."""

    def check(self, user: str) -> None:
        """Raise ``InvalidInput`` unless a task may run as this user."""
        if self.allowed is not None and user not in self.allowed | NOBODY:
            raise InvalidInput(
                "user",
                f"tasks may not run as {user!r}; each workspace has a user of its own. An operator"
                " can allow it with work_users_allowed",
            )

    def effective(self, user: str | None) -> str | None:
        """The user to become; None for the one that the workspace has."""
        if self.allowed is not None and user in NOBODY - self.allowed:
            return None
        return user
