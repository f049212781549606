"""The group port: settings of groups and workspaces. Raises as the store ports do."""

from typing import Protocol

from msgspec import Struct

from taskyard.core.ids import (
    GroupName,
    WorkspaceName,
)


class GroupRecord(Struct, frozen=True):
    """A group's settings and its task counts."""

    name: GroupName
    workspace: WorkspaceName
    paused: bool = False
    concurrency_limit: int | None = None
    counts: dict[str, int] = {}
    """By state; states without tasks are left out."""


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
    ) -> GroupRecord:
        """Change what is given, keep the rest."""
        ...

    async def set_workspace_limit(self, workspace: WorkspaceName, limit: int | None) -> None:
        """Attempts of this workspace that may run at once; None for no limit."""
        ...

    async def limits(
        self,
    ) -> tuple[dict[WorkspaceName, int], list[GroupRecord]]:
        """All workspace limits, and all groups that are paused or limited (without counts)."""
        ...
