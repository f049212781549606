"""Maintenance: operators of the installation ask for quiet.

Dialects that know of it refuse operations meanwhile. What runs goes on. The switch outlives
restarts.
"""

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import NotAllowed
from taskyard.ports.clock import Clock
from taskyard.ports.maintenance import MaintenanceRecord, MaintenanceStore
from taskyard.services.access.accounts import require_installation
from taskyard.services.access.audit import Audit


class Maintenance:
    """The switch. What was read once is remembered: this process alone writes it."""

    def __init__(self, store: MaintenanceStore, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._known: MaintenanceRecord | None = None

    async def state(self) -> MaintenanceRecord:
        """As it is. Raises as the store does."""
        if self._known is None:
            self._known = await self._store.read()
        return self._known

    async def set(self, caller: Caller, *, is_on: bool) -> MaintenanceRecord:
        """Switch it; twice is as good as once. Raises ``NotAllowed``, or as the store does."""
        action = "maintenance.set" if is_on else "maintenance.unset"
        try:
            require_installation(caller, Role.OPERATE)
        except NotAllowed as error:
            await self._audit.not_allowed(caller, error, action)
            raise
        self._known = None
        self._known = await self._store.put(is_on=is_on, now=self._clock.now())
        await self._audit.done(caller, action, "", workspace=INSTALLATION)
        return self._known
