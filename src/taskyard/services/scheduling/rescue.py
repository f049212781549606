"""Notices workers that fell silent, and has their attempts run elsewhere.

Whoever judges must itself be able to hear: nobody is given up for a silence during which this
process was held up or its store was late, nor is a worker of this very process.
"""

from collections.abc import Callable

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import WorkerId
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import JOINED, LEASE_S, DispatchStore, WorkerRecord
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.hearing import Hearing, hears_nobody
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.leases import Leases

TICK_S = 0.5
SILENCE_S = 2.0
"""A worker beats every second; on one machine two lost beats are no accident."""
QUIET_S = 2.5
"""A worker on another machine that was silent for longer gets nothing new; it is given up when its
lease is over."""
RETURN_S = 15.0
"""How long a worker that was here before a restart of the engine may take to join again."""
RECONCILE_S = 10.0
"""How often the scheduler's view is compared with the store."""

log = structlog.get_logger(__name__)


class Rescue:
    """A loop that looks twice a second."""

    def __init__(
        self,
        store: DispatchStore,
        dispatch: Dispatch,
        kill: KillOrders,
        cluster: ClusterState,
        leases: Leases,
        bus: Bus,
        clock: Clock,
        monotonic: Callable[[], float],
        hearing: Hearing | None = None,
    ) -> None:
        """Prepare; ``hearing`` tells whether workers on other machines can be heard."""
        self._hearing = hearing or hears_nobody()
        self._store = store
        self._dispatch = dispatch
        self._kill = kill
        self._cluster = cluster
        self._leases = leases
        self._bus = bus
        self._clock = clock
        self._monotonic = monotonic
        self._awaited: dict[WorkerId, WorkerRecord] = {}
        self._losing: dict[WorkerId, WorkerRecord] = {}
        """Gone for us, but the store could not be told yet."""
        self._began = 0.0
        self._reconciled = monotonic()
        self.is_inside: Callable[[WorkerId], bool] = lambda _worker_id: False
        """Whether a worker lives in this process, and so cannot be silent."""

    async def load(self) -> None:
        """Learn which workers may come back. Call once, before ``run``."""
        records = await self._store.workers()
        self._awaited = {record.id: record for record in records if record.state != "lost"}
        self._began = self._monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        last = self._monotonic()
        while True:
            await self._clock.sleep(TICK_S)
            now = self._monotonic()
            # Whoever was itself kept from running cannot tell who else was silent meanwhile.
            delayed, last = now - last > 2 * TICK_S, now
            if delayed:
                self._cluster.spare()
                continue
            try:
                await self._look()
            except (Unavailable, Overloaded) as error:
                self._cluster.spare()
                log.warning("rescue_paused", reason=str(error))

    async def _look(self) -> None:
        self._hush()
        for record in await self._silent():
            self._dispatch.left(record.id)
            self._losing[record.id] = record
        here = {record.id for record, _ in self._cluster.workers()}
        self._awaited = {name: one for name, one in self._awaited.items() if name not in here}
        self._losing = {name: one for name, one in self._losing.items() if name not in here}
        if self._awaited and self._monotonic() - self._began > RETURN_S:
            hears = self._hearing.look()
            gone = {n: one for n, one in self._awaited.items() if hears or one.plane_id != JOINED}
            self._losing |= gone
            self._awaited = {n: one for n, one in self._awaited.items() if n not in gone}
        for record in tuple(self._losing.values()):
            try:
                await self._lose(record)
            except (Unavailable, Overloaded):
                raise
            except Exception:
                # A defect must not keep the others' attempts from being given to somebody else.
                log.exception("worker_not_given_up", worker_id=record.id)
        await self._kill.repeat()
        if self._hearing.is_connected:
            self._dispatch.retry_unreached()
        if self._monotonic() - self._reconciled > RECONCILE_S:
            await self._dispatch.reconcile()
            self._reconciled = self._monotonic()

    async def _silent(self) -> list[WorkerRecord]:
        """Workers to give up."""
        if not self._suspects():
            return []
        if not await self._leases.is_prompt():
            log.warning("store_late", spared=len(self._suspects()))
            self._cluster.spare()
        # Again: some may have been heard while the store was asked.
        return self._suspects()

    def _suspects(self) -> list[WorkerRecord]:
        near = [one for one in self._cluster.silent(SILENCE_S) if one.plane_id != JOINED]
        far = self._cluster.silent(LEASE_S) if self._hearing.look() else []
        return [one for one in near if not self.is_inside(one.id)] + [
            one for one in far if one.plane_id == JOINED
        ]

    def _hush(self) -> None:
        """Have nothing new placed on workers of other machines that cannot be heard."""
        away = not self._hearing.is_connected
        quiet = {one.id for one in self._cluster.silent(QUIET_S)}
        for record, _ in self._cluster.workers():
            if record.plane_id == JOINED and self._cluster.hush(
                record.id, quiet=away or record.id in quiet
            ):
                self._dispatch.wake()

    async def _lose(self, record: WorkerRecord) -> None:
        changes = await self._store.lose(record.id, record.incarnation, self._clock.now())
        log.warning("worker_lost", worker_id=record.id, incarnation=record.incarnation)
        self._losing.pop(record.id, None)
        self._bus.publish(changes)
