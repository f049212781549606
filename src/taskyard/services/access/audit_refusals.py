"""Refused attempts on their way into the audit trail, gathered so that a flood of them is bounded.

The first attempt of a kind is written at once; how often it is repeated within a minute is counted
and added to the entry afterwards. A workspace has so many kinds a minute; what is beyond is one
kind.
"""

from typing import Final

import structlog
from msgspec import Struct, structs

from taskyard.core.access.principals import AuditEntry
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, seconds_between
from taskyard.ports.access import AuditStore
from taskyard.ports.clock import Clock

WINDOW_S: Final = 60.0
"""Seconds for which repeated attempts are gathered."""
KINDS_OF_ACTION: Final = 20
"""Kinds of refusals of one action in one workspace that are told apart within a window."""
KINDS: Final = 2000
"""Kinds that are told apart in all; past that, nothing is told apart within the window."""
MANY: Final = "many"
"""Actor of an entry that stands for attempts of several."""

log = structlog.get_logger(__name__)

_Kind = tuple[WorkspaceName, str, str, str | None, str | None, str | None]


class _Gathered(Struct):
    number: int | None = None
    """Of the entry; None while it is being written."""
    more: int = 0


class RefusalAudit:
    """Counts refused attempts. Belongs to one event loop."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._began_at: Instant | None = None
        self._gathered: dict[_Kind, _Gathered] = {}
        self._by_action: dict[tuple[WorkspaceName, str], int] = {}

    async def add(self, entry: AuditEntry) -> None:
        """One more. What cannot be stored is logged; nothing is raised."""
        try:
            if self._is_over():
                await self.write()
            await self._add(entry)
        except TaskyardError as error:
            log.warning(
                "refusal_not_recorded", actor=entry.actor, action=entry.action, reason=str(error)
            )

    async def write(self) -> None:
        """Store the counts and start over. Raises as the store does."""
        gathered, self._gathered = self._gathered, {}
        self._by_action.clear()
        self._began_at = None
        more = {one.number: one.more for one in gathered.values() if one.number and one.more}
        if more:
            await self._store.recount(more)

    async def _add(self, entry: AuditEntry) -> None:
        if self._began_at is None:
            self._began_at = entry.at
        kind = _kind(entry)
        found = self._gathered.get(kind)
        if found is None:
            seen = self._by_action.get((entry.workspace, entry.action), 0)
            if seen >= KINDS_OF_ACTION or len(self._gathered) >= KINDS:
                entry = structs.replace(entry, actor=MANY, target=None, address=None, detail=None)
                kind = _kind(entry)
                found = self._gathered.get(kind)
                if found is None and len(self._gathered) >= 2 * KINDS:
                    return
        if found is not None:
            found.more += 1
            return
        action = (entry.workspace, entry.action)
        self._by_action[action] = self._by_action.get(action, 0) + 1
        made = self._gathered[kind] = _Gathered()
        made.number = await self._store.append(entry)

    def _is_over(self) -> bool:
        began_at = self._began_at
        return began_at is not None and seconds_between(began_at, self._clock.now()) >= WINDOW_S


def _kind(entry: AuditEntry) -> _Kind:
    """What attempts have in common that are gathered."""
    where = (entry.workspace, entry.action)
    return (*where, entry.actor, entry.target, entry.address, entry.detail)
