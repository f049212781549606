"""The audit trail: who changed what, and who tried to without being allowed.

Recorded are writes on tokens, users, secrets, groups and webhook deliveries, bulk cancels, deletes,
and refused attempts of every kind. What happens to a single task is not repeated here: the task's
own event history tells it, with the actor. Each workspace keeps its newest 100,000 entries, and
of refused attempts the newest 10,000. What concerns no workspace is in the trail of the
installation.
"""

from typing import Final

from taskyard.core.access.principals import INSTALLATION, AuditEntry, Caller, Role
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import WorkspaceName
from taskyard.ports.access import AuditStore
from taskyard.ports.clock import Clock
from taskyard.services.access.audit_refusals import RefusalAudit

TEXT_LIMIT: Final = 1000
"""Characters of a target or a detail that are kept."""


class Audit:
    """Writes and reads the audit trail."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._refusals = RefusalAudit(store, clock)

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
        self,
        caller: Caller,
        action: str,
        target: str | None = None,
        detail: str | None = None,
        workspace: WorkspaceName | None = None,
    ) -> None:
        """Record a write that was done and has no entry of its own in its transaction."""
        entry = self.entry(caller, action, target, detail=detail, workspace=workspace)
        await self._store.append(entry)

    async def refused(
        self,
        caller: Caller,
        action: str,
        target: str | None = None,
        detail: str | None = None,
        workspace: WorkspaceName | None = None,
    ) -> None:
        """Record a refused attempt, by default in the trail of the caller's workspace.

        Never fails: whoever is refused is to be told that, whatever becomes of the entry.
        """
        await self._refusals.add(
            self.entry(
                caller, action, target, detail=detail, workspace=workspace, outcome="refused"
            )
        )

    async def not_allowed(
        self, caller: Caller, error: NotAllowed, action: str, target: str | None = None
    ) -> None:
        """Record that the caller was not allowed something, unless that was recorded before."""
        if not error.is_recorded:
            error.is_recorded = True
            await self.refused(caller, action, target, str(error))

    async def write_refusals(self) -> None:
        """Store how often refused attempts were repeated. Raises as the store does."""
        await self._refusals.write()

    async def page(
        self,
        caller: Caller,
        before: int | None = None,
        limit: int = 50,
        workspace: WorkspaceName | None = None,
    ) -> list[AuditEntry]:
        """Newest first, with numbers below ``before``.

        ``workspace`` is the caller's own when None. That of a workspace is for its admins and
        those of the installation; the trail of the installation is for all credentials of it.
        Raises ``NotAllowed``.
        """
        where = workspace or caller.workspace
        if where == INSTALLATION:
            allowed, needed = caller.installation is not None, "a credential of the installation"
        else:
            is_own = where == caller.workspace and caller.role >= Role.ADMIN
            allowed = is_own or (caller.installation or 0) >= Role.ADMIN
            needed = "the role admin"
        if not allowed:
            raise NotAllowed(f"this needs {needed}")
        return await self._store.audit(where, before, limit)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
