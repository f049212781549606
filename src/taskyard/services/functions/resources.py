"""Resources of functions, as callers see them: add, get, change, remove."""

from collections.abc import AsyncIterator, Collection
from typing import Final, TypeVar

from msgspec import structs

from taskyard.core.access.principals import Caller, Role
from taskyard.core.cron import next_firing
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.functions.functions import Function
from taskyard.core.functions.resources import (
    Build,
    Endpoint,
    FunctionResource,
    Node,
    Schedule,
    Tag,
    Trigger,
)
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant
from taskyard.ports.clock import Clock
from taskyard.ports.function_resources import FunctionResourceStore
from taskyard.services.access.audit import Audit
from taskyard.services.access.permissions import require
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.triggers import Triggers

AT_ONCE: Final = 500
TRIES: Final = 10
"""How often a change is made that others get ahead of."""

T = TypeVar("T", Endpoint, Trigger, Schedule, Tag, Node, Build)


class FunctionResources:
    """Entries of a caller's workspace; someone else's is an unknown one."""

    def __init__(
        self,
        store: FunctionResourceStore,
        functions: Functions,
        triggers: Triggers,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._store = store
        self._functions = functions
        self._triggers = triggers
        self._audit = audit
        self._clock = clock

    async def add(self, caller: Caller, entry: FunctionResource) -> None:
        """Store a new entry. Raises ``NotAllowed``, ``Conflict`` if its id is taken."""
        require(caller, Role.WRITE)
        if isinstance(entry, Trigger):
            self._triggers.follow(entry.function_id)
        audit = self._audit.entry(caller, f"{_word(entry)}.create", entry.id)
        await self._store.add(entry, self._due_at(entry), audit)
        self._triggers.schedules_changed()

    async def get(self, caller: Caller, kind: type[T], entry_id: str) -> T:
        """Raises ``NotFound``."""
        found = await self._store.get(kind, entry_id, caller.workspace)
        if not isinstance(found, kind):
            raise NotFound(_word(found), entry_id)
        return found

    async def endpoint(self, endpoint_id: str) -> Endpoint:
        """Get it by id alone, for any caller. Raises ``NotFound``."""
        found = await self._store.get(Endpoint, endpoint_id, None)
        if not isinstance(found, Endpoint):
            raise NotFound("endpoint", endpoint_id)
        return found

    async def page(
        self,
        caller: Caller,
        kind: type[T],
        *,
        function_id: str | None = None,
        timezone: str | None = None,
        offset: int = 0,
        limit: int = 1000,
    ) -> tuple[list[T], int]:
        """Newest first, and how many there are in all."""
        found, total = await self._store.page(
            kind,
            caller.workspace,
            function_id=function_id,
            timezone=timezone,
            offset=offset,
            limit=limit,
        )
        return [one for one in found if isinstance(one, kind)], total

    async def everything(self, caller: Caller, kind: type[T]) -> AsyncIterator[list[T]]:
        """All entries of a kind, oldest first, some at a time."""
        after = 0
        while some := await self._store.oldest_first(kind, caller.workspace, after, AT_ONCE):
            after = some[-1][0]
            yield [one for _, one in some if isinstance(one, kind)]

    async def some(self, caller: Caller, kind: type[T], ids: Collection[str]) -> list[T]:
        """Those that have one of these ids, in no order."""
        found = await self._store.some(kind, caller.workspace, ids) if ids else []
        return [one for one in found if isinstance(one, kind)]

    async def replace(self, caller: Caller, entry: T, was: T) -> None:
        """Store an entry's new content; it has to be one of the caller's.

        What somebody else has changed since it ``was`` like that stays, but for what differs here.
        Raises ``NotAllowed``, ``NotFound``, and ``Conflict`` if others change it all the time.
        """
        require(caller, Role.WRITE)
        given = {
            name: value
            for name, value in structs.asdict(entry).items()
            if value != getattr(was, name)
        }
        for _ in range(TRIES):
            if await self._store.replace(entry, self._due_at(entry), was):
                self._triggers.schedules_changed()
                return
            was = await self.get(caller, type(was), entry.id)
            entry = structs.replace(was, **given)
        raise Conflict("others change it at the same time; try again")

    async def remove(self, caller: Caller, entry: FunctionResource) -> None:
        """Forget one of the caller's entries. Raises ``NotAllowed``."""
        require(caller, Role.WRITE)
        await self._store.remove(
            entry, self._audit.entry(caller, f"{_word(entry)}.delete", entry.id)
        )

    async def delete_function(self, caller: Caller, function: Function) -> None:
        """Delete a function and, permanently, its resources. Raises as ``Functions.delete``."""
        require(caller, Role.WRITE)
        await self._store.remove_of_function(function.id)
        await self._functions.delete(caller, function.id)

    async def build_began(self, function: Function, number: int) -> Instant | None:
        """When the build of a version began; None if it has not."""
        return await self._store.build_began(function.id, number)

    async def pending_builds(self, workspace: WorkspaceName) -> int:
        """Builds of a workspace that have not ended."""
        return await self._store.pending_builds(workspace)

    def _due_at(self, entry: FunctionResource) -> Instant | None:
        if not isinstance(entry, Schedule) or not entry.active:
            return None
        return next_firing(entry.cron, entry.timezone, self._clock.now())


def _word(entry: FunctionResource) -> str:
    return str(type(entry).__struct_config__.tag)
