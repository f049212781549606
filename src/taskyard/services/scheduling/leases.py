"""Renews leases in the store, beside the heartbeats that they stand for.

A heartbeat is noted in memory and answered at once, so that a slow commit never makes a worker
look silent. This loop then renews, now and then, the leases of the workers that are here.
"""

from collections.abc import Callable

import structlog

from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.instants import after
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore, WorkerRecord
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.dispatch import LEASE_S

RENEW_EVERY_S = 5.0
"""How often leases are renewed in the store; in between, heartbeats are kept in memory."""
TICK_S = 0.5
PROMPT_S = 1.0
"""A store that takes longer than this to answer is late."""

log = structlog.get_logger(__name__)


class Leases:
    """A loop that renews, and what the store said of those it renewed."""

    def __init__(
        self,
        store: DispatchStore,
        cluster: ClusterState,
        clock: Clock,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._clock = clock
        self._monotonic = monotonic
        self._renewed: dict[WorkerId, tuple[IncarnationId, float]] = {}
        self._fenced: dict[WorkerId, IncarnationId] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(TICK_S)
            try:
                await self._renew_due()
            except (Unavailable, Overloaded) as error:
                log.warning("leases_not_renewed", reason=str(error))

    def joined(self, worker_id: WorkerId) -> None:
        """A worker has joined: what was known of it does not hold any more."""
        self._renewed.pop(worker_id, None)
        self._fenced.pop(worker_id, None)

    def is_fenced(self, worker_id: WorkerId, incarnation: IncarnationId) -> bool:
        """Whether the store said, when it was last asked, that this incarnation holds nothing."""
        return self._fenced.get(worker_id) == incarnation

    async def is_prompt(self) -> bool:
        """Whether the store commits without delay; waits until it has answered.

        Raises:
            Unavailable, Overloaded: it does not answer at all.
        """
        asked_at, now = self._monotonic(), self._clock.now()
        # Nobody has this id: it changes nothing, but waits its turn behind commits under way.
        await self._store.renew(WorkerId(""), IncarnationId(""), now, now)
        return self._monotonic() - asked_at <= PROMPT_S

    async def _renew_due(self) -> None:
        for record, _ in self._cluster.workers():
            if self._is_due(record):
                await self._renew(record)

    def _is_due(self, record: WorkerRecord) -> bool:
        incarnation, renewed = self._renewed.get(record.id, ("", 0.0))
        return incarnation != record.incarnation or self._monotonic() >= renewed + RENEW_EVERY_S

    async def _renew(self, record: WorkerRecord) -> None:
        asked_at, now = self._monotonic(), self._clock.now()
        holds = await self._store.renew(record.id, record.incarnation, now, after(now, LEASE_S))
        self._renewed[record.id] = (record.incarnation, asked_at)
        if not holds:
            self._fenced[record.id] = record.incarnation
