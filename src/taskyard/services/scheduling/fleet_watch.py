"""The workers of all control planes, as their leader sees them: those that were heard of lately.

What one runs that is silent goes elsewhere when its lease has ended. Long before, it gets nothing
new: it may have died together with the leader before.

Whoever judges must itself be able to look: nobody is given up while the store is late, nor soon
after, since then leases ran out that nobody could renew.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from msgspec.structs import replace

from taskyard.core.errors import NotFound, Overloaded, Unavailable
from taskyard.core.ids import WorkerId
from taskyard.core.states import AttemptState
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import (
    JOINED,
    LEASE_S,
    DispatchStore,
    PlacedAttempt,
    WorkerLease,
    WorkerRecord,
)
from taskyard.ports.store import TaskStore
from taskyard.services.leadership import TermSource
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.hearing import Hearing, hears_nobody
from taskyard.services.scheduling.kill import KillOrders

TICK_S: Final = 0.5
PROMPT_S: Final = 1.0
"""A store that takes longer than this to answer is late."""
QUIET_S: Final = 2.5
"""A worker whose lease was renewed longer ago than this gets nothing new. Leases are renewed every
second; a dead leader is followed by another one no sooner than 2.7 s later."""
GRACE_S: Final = 3.0
"""For how long nobody is judged after the store was late, and after this plane began to lead."""
RENEW_S: Final = 1.0
"""How often leases are renewed for workers that nobody can hear."""
RECONCILE_S: Final = 10.0

log = structlog.get_logger(__name__)


class FleetWatch:
    """A loop of the leader's that looks twice a second."""

    def __init__(
        self,
        store: DispatchStore,
        tasks: TaskStore,
        dispatch: Dispatch,
        kill: KillOrders,
        bus: Bus,
        clock: Clock,
        monotonic: Callable[[], float],
        term: TermSource,
        on_leases: Callable[[list[WorkerLease]], None] = lambda _leases: None,
        hearing: Hearing | None = None,
    ) -> None:
        """Prepare.

        ``on_leases`` is told of all leases before anything is placed by them; ``hearing`` tells
        whether workers on other machines can be heard.
        """
        self._hearing = hearing or hears_nobody()
        self._spared_at = 0.0
        self._on_leases = on_leases
        self._store = store
        self._tasks = tasks
        self._dispatch = dispatch
        self._kill = kill
        self._bus = bus
        self._clock = clock
        self._monotonic = monotonic
        self._term = term
        self._known: dict[WorkerId, WorkerRecord] = {}
        self._judges_from = 0.0
        self._looked = 0.0
        self._has_missed = False
        """Whether changes were missed since the last comparison with the store."""
        bus.listen(lambda _changes: None, self._miss)

    def _miss(self) -> None:
        self._has_missed = True

    async def enter(self) -> None:
        """Learn who is there. What the leader before left half done is for :meth:`run`: it takes
        a question for each attempt that runs, and what waits need not wait for that.
        """
        self._spare()
        self._looked = self._monotonic()
        self._compare(await self._leases())
        self._dispatch.knows_fleet = True

    def drop(self) -> None:
        """Forget everything."""
        self._known.clear()

    async def run(self) -> None:
        """Until cancelled."""
        reconciled = self._monotonic()
        await self._attempt(self.resume)
        while True:
            await self._clock.sleep(TICK_S)
            if not await self._attempt(self._look):
                continue
            if self._has_missed or self._monotonic() - reconciled > RECONCILE_S:
                self._has_missed = False
                if await self._attempt(self._reconcile):
                    reconciled = self._monotonic()

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Whether it came about. Otherwise all is compared with the store once that answers."""
        try:
            await step()
        except (Unavailable, Overloaded) as error:
            self._spare()
            self._has_missed = True
            log.warning("fleet_unknown", reason=str(error))
            return False
        return True

    async def _reconcile(self) -> None:
        await self._dispatch.reconcile()
        await self.resume()

    async def resume(self) -> None:
        """Send what was assigned and did not start, and orders to kill, once more.

        Whoever was to send them may have died, or their message may have been lost. A worker that
        has them takes no notice.
        """
        for running in await self._store.running():
            attempt = running.attempt
            try:
                task = await self._tasks.task(attempt.workspace, attempt.task_id)
            except NotFound:
                continue
            if task.current_attempt != attempt.id:
                continue
            if task.kill_requested_at is not None:
                await self._kill.resume(attempt, task.spec.kill_signal, task.spec.kill_grace_s)
            if attempt.state is AttemptState.ASSIGNED:
                self._dispatch.resend(PlacedAttempt(attempt, task))

    async def _look(self) -> None:
        asked_at = self._monotonic()
        # Whoever was kept from running cannot tell what happened meanwhile.
        if asked_at - self._looked > 2 * TICK_S + PROMPT_S:
            self._spare()
        leases = await self._leases()
        self._looked = self._monotonic()
        if self._looked - asked_at > PROMPT_S:
            log.warning("store_late", seconds=round(self._looked - asked_at, 1))
            self._spare()
        self._compare(leases)
        self._dispatch.retry_unreached()
        hears = self._hearing.look()
        if not hears and not self._hearing.is_connected:
            await self._renew_joined(leases)
        if self._monotonic() >= self._judges_from:
            for one in leases.values():
                is_judged = hears or one.record.plane_id != JOINED
                if one.left_s <= 0 and one.record.state != "lost" and is_judged:
                    await self._lose(one.record)

    async def _renew_joined(self, leases: Mapping[WorkerId, WorkerLease]) -> None:
        """Have the leases of workers on other machines go on while nobody can renew them."""
        if self._monotonic() - self._spared_at < RENEW_S:
            return
        self._spared_at = self._monotonic()
        holders = [
            (one.record.id, one.record.incarnation)
            for one in leases.values()
            if one.record.plane_id == JOINED and one.record.state != "lost"
        ]
        if holders:
            await self._store.renew(holders, self._clock.now(), LEASE_S)

    async def _leases(self) -> dict[WorkerId, WorkerLease]:
        leases = await self._store.leases()
        self._on_leases(leases)
        return {one.record.id: one for one in leases}

    def _spare(self) -> None:
        self._judges_from = self._monotonic() + GRACE_S

    def _compare(self, leases: Mapping[WorkerId, WorkerLease]) -> None:
        """Bring what the scheduler knows up to date."""
        reaches = self._hearing.is_connected
        heard = {
            worker_id: one.record
            for worker_id, one in leases.items()
            if one.left_s > LEASE_S - QUIET_S
            and one.record.state != "lost"
            and (reaches or one.record.plane_id != JOINED)
        }
        for worker_id in self._known.keys() - heard.keys():
            self._leave(worker_id)
        for worker_id, record in heard.items():
            self._meet(worker_id, record)

    def _meet(self, worker_id: WorkerId, record: WorkerRecord) -> None:
        known = self._known.get(worker_id)
        self._known[worker_id] = record
        if known is None or _described(known) != _described(record):
            self._dispatch.drained(worker_id, draining=record.draining)
            self._dispatch.joined(record)
        elif known.draining != record.draining:
            self._dispatch.drained(worker_id, draining=record.draining)
        self._dispatch.heard(worker_id, record.incarnation, record.beat_at)

    def _leave(self, worker_id: WorkerId) -> None:
        if self._known.pop(worker_id, None) is not None:
            self._dispatch.left(worker_id)

    async def _lose(self, record: WorkerRecord) -> None:
        self._leave(record.id)
        try:
            changes = await self._store.lose(
                record.id,
                record.incarnation,
                self._clock.now(),
                term=self._term(),
                only_expired=True,
            )
        except (Unavailable, Overloaded):
            raise
        except Exception:
            # A defect must not keep the others' attempts from being given to somebody else.
            log.exception("worker_not_given_up", worker_id=record.id)
            return
        log.warning("worker_lost", worker_id=record.id, incarnation=record.incarnation)
        self._bus.publish(changes)


def _described(record: WorkerRecord) -> WorkerRecord:
    """What the scheduler has to know of a worker."""
    return replace(record, beat_at=record.joined_at, state="", draining=False)
