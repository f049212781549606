"""Heartbeats of workers on other machines: gathered, and their leases renewed in one statement.

Each is answered once its renewal is stored, so that a worker which was told that its lease holds
may rely on it, whichever control plane judges.
"""

from collections import Counter
from typing import Final

import anyio
import structlog

from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import LEASE_S, DispatchStore
from taskyard.ports.transport import LeaseState

GATHER_S: Final = 0.25
"""For how long heartbeats are gathered, which a worker sends every second."""

log = structlog.get_logger(__name__)


class _Beat:
    """One that waits."""

    __slots__ = ("done", "error", "state")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.state = LeaseState.FENCED
        self.error: TaskyardError | None = None


class LeaseBeats:
    """A loop that renews what has gathered."""

    def __init__(self, store: DispatchStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[tuple[WorkerId, IncarnationId], _Beat] = {}
        self._news = anyio.Event()

    async def renew(self, worker_id: WorkerId, incarnation: IncarnationId) -> LeaseState:
        """Have a lease renewed; answers when it is stored.

        Raises ``Unavailable`` or ``Overloaded`` if it could not be.
        """
        beat = self._waiting.setdefault((worker_id, incarnation), _Beat())
        self._news.set()
        await beat.done.wait()
        if beat.error is not None:
            raise beat.error
        return beat.state

    async def run(self) -> None:
        """Until cancelled; whoever waits is told that it is over."""
        try:
            while True:
                await self._news.wait()
                await self._clock.sleep(GATHER_S)
                self._news = anyio.Event()
                await self._renew_gathered()
        finally:
            self._settle(self._take(), Unavailable("this control plane is stopping"))

    def _take(self) -> dict[tuple[WorkerId, IncarnationId], _Beat]:
        gathered, self._waiting = self._waiting, {}
        return gathered

    async def _renew_gathered(self) -> None:
        gathered = self._take()
        try:
            held = await self._store.renew(list(gathered), self._clock.now(), LEASE_S)
            lives = Counter(worker_id for worker_id, _ in gathered)
            sure = {one for one in gathered if one[0] in held and lives[one[0]] == 1}
            present = await self._present() if len(sure) < len(gathered) else {}
        except (Unavailable, Overloaded) as error:
            log.warning("leases_not_renewed", workers=len(gathered), reason=str(error))
            self._settle(gathered, error)
            return
        except BaseException:
            self._settle(gathered, Unavailable("the lease could not be renewed"))
            raise
        for (worker_id, incarnation), beat in gathered.items():
            now = present.get(worker_id)
            if (worker_id, incarnation) in sure or (worker_id in held and now == incarnation):
                beat.state = LeaseState.HELD
            elif now is not None and now != incarnation:
                beat.state = LeaseState.REPLACED
            beat.done.set()

    async def _present(self) -> dict[WorkerId, IncarnationId]:
        """The lives that were not given up."""
        records = await self._store.workers()
        return {one.id: one.incarnation for one in records if one.state != "lost"}

    def _settle(
        self, beats: dict[tuple[WorkerId, IncarnationId], _Beat], error: TaskyardError
    ) -> None:
        for beat in beats.values():
            beat.error = error
            beat.done.set()
