"""Renews leases in the store, beside the heartbeats that they stand for.

A heartbeat is noted in memory and answered at once, so that a slow commit never makes a worker
look silent. This loop then renews, now and then, the leases of the workers that are here, all of
them in one statement.

Of several control planes another one may judge. So a worker whose lease could not be renewed stops
what it runs before the lease ends: it *lapses*, gets nothing to report any more, and joins again.
The only control plane there is judges by itself; there nothing lapses, however late the store is.
"""

from collections.abc import Callable
from typing import Final

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import JOINED, LEASE_S, DispatchStore, WorkerRecord
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.plane_workers import PlaneWorkers

RENEW_EVERY_S: Final = 5.0
"""How often leases are renewed in the store; in between, heartbeats are kept in memory."""
TICK_S: Final = 0.5
PROMPT_S: Final = 1.0
"""A store that takes longer than this to answer is late."""
SILENCE_S: Final = 2.0
"""A worker beside one of several planes that was not heard for so long is not renewed."""
LAPSE_S: Final = LEASE_S - 4.0
"""How long after a renewal a worker beside one of several planes lapses. What is left until the
lease ends is for its next heartbeat, for a kill, and for clocks that differ."""

log = structlog.get_logger(__name__)


class Leases:
    """A loop that renews, and what the store said of those it renewed."""

    def __init__(
        self,
        store: DispatchStore,
        cluster: ClusterState,
        clock: Clock,
        monotonic: Callable[[], float],
        beside: PlaneWorkers | None = None,
    ) -> None:
        """Prepare; ``beside`` are the workers of this plane if there are several planes."""
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._monotonic = monotonic
        self._beside = beside
        self._renewed: dict[WorkerId, tuple[IncarnationId, float]] = {}
        self._fenced: dict[WorkerId, IncarnationId] = {}
        self._lapsed: dict[WorkerId, IncarnationId] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(TICK_S)
            try:
                await self._renew_due()
                await self._describe_changed()
            except (Unavailable, Overloaded) as error:
                log.warning("leases_not_renewed", reason=str(error))

    def joined(self, worker_id: WorkerId, incarnation: IncarnationId, at: float) -> None:
        """A worker has joined, having asked ``at``: what was known of it does not hold any more."""
        self._renewed.pop(worker_id, None)
        self._fenced.pop(worker_id, None)
        self._lapsed.pop(worker_id, None)
        if self._beside is not None:
            self._renewed[worker_id] = incarnation, at

    def is_fenced(self, worker_id: WorkerId, incarnation: IncarnationId) -> bool:
        """Whether the store said, when it was last asked, that this incarnation holds nothing."""
        return self._fenced.get(worker_id) == incarnation

    def lapsed(self, worker_id: WorkerId) -> IncarnationId | None:
        """The incarnation whose lease may have run out, until it has joined again; else None."""
        if self._beside is None:
            return None
        renewed = self._renewed.get(worker_id)
        if worker_id not in self._lapsed and renewed is not None:
            incarnation, at = renewed
            if self._monotonic() > at + LAPSE_S:
                log.error("lease_lapsed", worker_id=worker_id, incarnation=incarnation)
                self._lapsed[worker_id] = incarnation
        return self._lapsed.get(worker_id)

    async def is_prompt(self) -> bool:
        """Whether the store commits without delay; waits until it has answered.

        Raises:
            Unavailable, Overloaded: it does not answer at all.
        """
        asked_at, now = self._monotonic(), self._clock.now()
        # Nobody has this id: it changes nothing, but waits its turn behind commits under way.
        await self._store.renew([(WorkerId(""), IncarnationId(""))], now)
        return self._monotonic() - asked_at <= PROMPT_S

    async def _renew_due(self) -> None:
        due = [one for one in self._here() if self._is_due(one)]
        if not due:
            return
        asked_at, now = self._monotonic(), self._clock.now()
        holders = [(one.id, one.incarnation) for one in due]
        held = await self._store.renew(holders, now, LEASE_S)
        for worker_id, incarnation in holders:
            self._renewed[worker_id] = incarnation, asked_at
            if worker_id not in held:
                self._fenced[worker_id] = incarnation

    def _here(self) -> list[WorkerRecord]:
        if self._beside is None:
            # Workers on other machines have theirs renewed by their heartbeats.
            here = self._cluster.workers()
            return [record for record, _ in here if record.plane_id != JOINED]
        return [one for one in self._beside.heard(SILENCE_S) if self.lapsed(one.id) is None]

    def _is_due(self, record: WorkerRecord) -> bool:
        incarnation, renewed = self._renewed.get(record.id, ("", 0.0))
        every_s = RENEW_EVERY_S if self._beside is None else 2 * TICK_S
        return incarnation != record.incarnation or self._monotonic() >= renewed + every_s

    async def _describe_changed(self) -> None:
        """Have the leader see what workers say of their runtimes."""
        if self._beside is None:
            return
        changed = self._beside.take_changed()
        for position, record in enumerate(changed):
            try:
                await self._store.describe(record)
            except BaseException:
                for one in changed[position:]:
                    self._beside.put_back(one)
                raise
