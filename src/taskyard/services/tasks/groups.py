"""Groups and the workspace itself: pausing, limits, counts."""

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import GroupName
from taskyard.ports.workspaces import GroupRecord, GroupStore
from taskyard.services.access.audit import Audit
from taskyard.services.access.permissions import require
from taskyard.services.scheduling.dispatch import Dispatch

MAX_LIMIT = 1_000_000


class Groups:
    """What callers may do with the groups of their workspace."""

    def __init__(self, store: GroupStore, dispatch: Dispatch, audit: Audit) -> None:
        self._store = store
        self._dispatch = dispatch
        self._audit = audit

    async def page(self, caller: Caller, after: str | None, limit: int) -> list[GroupRecord]:
        """Groups in order of name, behind ``after``."""
        return await self._store.groups(caller.workspace, after, limit)

    async def get(self, caller: Caller, name: GroupName) -> GroupRecord:
        """One group; one never heard of comes back with defaults."""
        return await self._store.group(caller.workspace, name)

    async def set(
        self,
        caller: Caller,
        name: GroupName,
        *,
        paused: bool | None = None,
        concurrency_limit: int | None = None,
        clear_limit: bool = False,
    ) -> GroupRecord:
        """Change what is given. A pause lets running attempts end. Raises ``NotAllowed``."""
        require(caller, Role.OPERATE)
        if not 1 <= len(name) <= 255:
            raise InvalidInput("group", "must be 1 to 255 characters")
        _check_limit(concurrency_limit)
        record = await self._store.set_group(
            caller.workspace,
            name,
            paused=paused,
            concurrency_limit=concurrency_limit,
            clear_limit=clear_limit,
            audit=self._audit.entry(caller, "group.set", name),
        )
        await self._dispatch.limits_changed()
        return record

    async def workspace_limit(self, caller: Caller) -> int | None:
        """Attempts of the workspace that may run at once; None for no limit."""
        limits, _ = await self._store.limits()
        return limits.get(caller.workspace)

    async def set_workspace_limit(self, caller: Caller, limit: int | None) -> None:
        """Raises ``NotAllowed`` or ``InvalidInput``."""
        require(caller, Role.ADMIN)
        _check_limit(limit)
        where = caller.workspace
        entry = self._audit.entry(caller, "workspace.limit", where, detail=str(limit))
        await self._store.set_workspace_limit(where, limit, entry)
        await self._dispatch.limits_changed()


def _check_limit(limit: int | None) -> None:
    if limit is not None and not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput("concurrency_limit", f"must be from 1 to {MAX_LIMIT}")
