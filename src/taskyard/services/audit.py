"""The audit trail: who changed what, and who tried to without being allowed.

Recorded are writes on tokens, users, secrets, groups and webhook deliveries, bulk cancels, deletes,
and refused attempts. What happens to a single task is not repeated here: the task's own event
history tells it, with the actor. Each workspace keeps its newest 100,000 entries.
"""

from typing import Final

from taskyard.core.access import AuditEntry, Caller, Role
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import WorkspaceName
from taskyard.ports.access import AuditStore
from taskyard.ports.clock import Clock

TEXT_LIMIT: Final = 1000
"""Characters of a target or a detail that are kept."""


class Audit:
    """Writes and reads the audit trail."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def entry(
        self,
        caller: Caller,
        action: str,
        target: str | None = None,
        *,
        detail: str | None = None,
        workspace: WorkspaceName | None = None,
        outcome: str = "done",
    ) -> AuditEntry:
        """An entry about something the caller does, to be committed along with it.

        ``action`` is a noun and a verb such as ``token.create``; ``workspace`` is where it takes
        effect, the caller's own when None.
        """
        return AuditEntry(
            number=0,
            at=self._clock.now(),
            actor=caller.actor,
            workspace=workspace or caller.workspace,
            action=action,
            target=_cut(target),
            outcome=outcome,
            address=caller.address,
            detail=_cut(detail),
        )

    async def done(
        self, caller: Caller, action: str, target: str | None = None, detail: str | None = None
    ) -> None:
        """Record a write that was done and has no entry of its own in its transaction."""
        await self._store.append(self.entry(caller, action, target, detail=detail))

    async def refused(
        self, caller: Caller, action: str, target: str | None = None, detail: str | None = None
    ) -> None:
        """Record a write that was refused, in the trail of the caller's own workspace."""
        await self._store.append(
            self.entry(caller, action, target, detail=detail, outcome="refused")
        )

    async def page(
        self, caller: Caller, before: int | None = None, limit: int = 50
    ) -> list[AuditEntry]:
        """Newest first, with numbers below ``before``. Raises ``NotAllowed`` unless an admin."""
        if caller.role < Role.ADMIN:
            raise NotAllowed("this needs the role admin")
        return await self._store.audit(caller.workspace, before, limit)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
