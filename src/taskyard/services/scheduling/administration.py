"""What operators do and look at: workers, maintenance of the installation, parked entries."""

from collections.abc import Sequence
from typing import Final

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.errors import NotAllowed
from taskyard.core.ids import WorkerId
from taskyard.core.resources import Capacity
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore, Parked, ParkingStore, WorkerRecord
from taskyard.ports.workspaces import MaintenanceRecord, MaintenanceStore
from taskyard.services.access.audit import Audit
from taskyard.services.access.permissions import require_installation
from taskyard.services.scheduling.dispatch import Dispatch

SHOWN: Final = 1000


class Workers:
    """What callers may do with workers. Workers belong to all workspaces alike, so that
    everybody sees them, and only operators of the installation change them.
    """

    def __init__(self, store: DispatchStore, dispatch: Dispatch, audit: Audit) -> None:
        self._store = store
        self._dispatch = dispatch
        self._audit = audit

    def present(self) -> list[tuple[WorkerRecord, Capacity]]:
        """Those that are here, each with what is free."""
        return self._dispatch.workers()

    async def known(self) -> list[WorkerRecord]:
        """All that ever joined and were not forgotten, as stored."""
        return await self._store.workers()

    async def drains_changed(self) -> None:
        """Learn which workers are drained, as others may have said. Raises as the store does."""
        stored = await self._store.workers()
        known = {record.id: record.draining for record, _ in self._dispatch.workers()}
        for record in stored:
            if known.get(record.id) != record.draining:
                self._dispatch.drained(record.id, draining=record.draining)

    async def drain(self, caller: Caller, worker_id: WorkerId) -> tuple[WorkerRecord, Capacity]:
        """Drain a worker: it takes nothing new, and what runs there continues.

        That outlives restarts of the server and of the worker, until :meth:`undrain`. Draining
        twice changes nothing. Raises ``NotAllowed``, and ``NotFound`` for a worker never heard of.
        """
        return await self._set(caller, worker_id, draining=True)

    async def undrain(self, caller: Caller, worker_id: WorkerId) -> tuple[WorkerRecord, Capacity]:
        """Let a worker take tasks again. Raises as :meth:`drain`."""
        return await self._set(caller, worker_id, draining=False)

    async def _set(
        self, caller: Caller, worker_id: WorkerId, *, draining: bool
    ) -> tuple[WorkerRecord, Capacity]:
        action = "worker.drain" if draining else "worker.undrain"
        try:
            require_installation(caller, Role.OPERATE)
        except NotAllowed as error:
            await self._audit.not_allowed(caller, error, action, worker_id)
            raise
        entry = self._audit.entry(caller, action, worker_id, workspace=INSTALLATION)
        stored = await self._store.set_draining(worker_id, draining=draining, audit=entry)
        self._dispatch.drained(worker_id, draining=draining)
        for record, free in self._dispatch.workers():
            if record.id == worker_id:
                return record, free
        return stored, stored.capacity


class Maintenance:
    """The switch. What was read once is remembered; who changes it elsewhere says so."""

    def __init__(self, store: MaintenanceStore, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._known: MaintenanceRecord | None = None
        self._revision = 0

    def forget(self) -> None:
        """It may have been switched by another control plane."""
        self._known = None
        self._revision += 1

    async def state(self) -> MaintenanceRecord:
        """The current state. Raises as the store does."""
        known = self._known
        if known is None:
            revision = self._revision
            known = await self._store.read()
            if revision == self._revision:
                self._known = known
        return known

    async def set(self, caller: Caller, *, is_on: bool) -> MaintenanceRecord:
        """Switch it; twice is as good as once. Raises ``NotAllowed``, or as the store does."""
        action = "maintenance.set" if is_on else "maintenance.unset"
        try:
            require_installation(caller, Role.OPERATE)
        except NotAllowed as error:
            await self._audit.not_allowed(caller, error, action)
            raise
        self.forget()
        entry = self._audit.entry(caller, action, "", workspace=INSTALLATION)
        record = await self._store.put(is_on=is_on, now=self._clock.now(), audit=entry)
        self.forget()
        return record


class ParkedEntries:
    """The entries of a caller's workspace that are put aside."""

    def __init__(self, store: ParkingStore) -> None:
        self._store = store

    async def all(self, caller: Caller) -> Sequence[Parked]:
        """Longest parked first, at most :data:`SHOWN`."""
        return await self._store.parked(caller.workspace, SHOWN)
