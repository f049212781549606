"""As whom work runs on a worker, and whom a task may ask for."""

from typing import Final

from msgspec import Struct

from taskyard.core.errors import InvalidInput


class Identity(Struct, frozen=True):
    """A user and group of the worker's machine; the server's own if there is no ``uid``."""

    uid: int | None = None
    gid: int | None = None
    """Set along with ``uid``; there are no supplementary groups."""


SERVER: Final = Identity()
"""Work runs as the server itself does."""


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
