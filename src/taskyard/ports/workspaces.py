"""The ports of workspaces and the installation: groups, users of the machine, maintenance.

Raise as the store ports do.
"""

from typing import Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry
from taskyard.core.ids import (
    GroupName,
    WorkspaceName,
)
from taskyard.core.instants import Instant


class GroupRecord(Struct, frozen=True):
    """A group's settings and its task counts."""

    name: GroupName
    workspace: WorkspaceName
    paused: bool = False
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}
    """By state; states without tasks are left out."""

    @property
    def settings(self) -> str:
        """As the audit trail tells them."""
        return f"paused={self.paused} concurrency_limit={self.concurrency_limit}"


class GroupStore(Protocol):
    """Settings of groups and workspaces. A group exists once it has a task or a setting."""

    async def groups(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[GroupRecord]:
        """In order of name, behind ``after``."""
        ...

    async def group(self, workspace: WorkspaceName, name: GroupName) -> GroupRecord:
        """A group never heard of comes back with defaults."""
        ...

    async def set_group(
        self,
        workspace: WorkspaceName,
        name: GroupName,
        *,
        paused: bool | None = None,
        concurrency_limit: int | None = None,
        clear_limit: bool = False,
        audit: AuditEntry | None = None,
    ) -> GroupRecord:
        """Change what is given, keep the rest.

        ``audit`` is stored along with it, with the settings as they are then as its detail.
        """
        ...

    async def set_workspace_limit(
        self, workspace: WorkspaceName, limit: int | None, audit: AuditEntry | None = None
    ) -> None:
        """Attempts of this workspace that may run at once; None for no limit."""
        ...

    async def limits(
        self,
    ) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
        """All workspace limits, and all groups that are paused or limited (without counts)."""
        ...


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


class MaintenanceRecord(Struct, frozen=True):
    """Whether it is on."""

    is_on: bool
    changed_at: Instant | None = None
    """Since when; None if it never was changed."""


class MaintenanceStore(Protocol):
    """Raises as the store ports do."""

    async def read(self) -> MaintenanceRecord:
        """As it is."""
        ...

    async def put(
        self, *, is_on: bool, now: Instant, audit: AuditEntry | None = None
    ) -> MaintenanceRecord:
        """Set it; setting it to what it is changes nothing. Answers with what it is then."""
        ...
