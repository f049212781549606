"""Orders the end of running attempts, and repeats an order until its attempt has ended."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from taskyard.core.attempts import Attempt
from taskyard.core.changes import Change
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.core.ids import AttemptId, WorkerId
from taskyard.core.states import TaskState
from taskyard.ports.clock import Clock
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.runtime import KillOrder
from taskyard.ports.store import CancelOutcome
from taskyard.ports.transport import Transport
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.fan_out import all_at_once

SENT_AT_ONCE = 500
REPEAT_S = 0.5
PATIENCE = 20
"""Rounds of orders that lead to nothing, until the store is asked whether there is anything left to
kill."""

Running = Callable[[], Awaitable[AbstractSet[AttemptId]]]


class KillOrders:
    """Kills on their way. An order is idempotent, so repeating it makes up for lost ones."""

    def __init__(
        self, transport: Transport, bus: Bus, clock: Clock, running: Running | None = None
    ) -> None:
        """Prepare; ``running`` reads which attempts have not ended, if ends may be missed."""
        self._clock = clock
        self._running = running
        self._transport = transport
        self._pending: dict[AttemptId, tuple[WorkerId, KillOrder]] = {}
        bus.listen(self._forget_ended)

    async def order(
        self,
        outcomes: Iterable[CancelOutcome],
        signal: str | None = None,
        grace_s: float | None = None,
    ) -> None:
        """Have those killed that are running; ``signal`` and ``grace_s`` replace the tasks' own."""
        fresh: list[AttemptId] = []
        for outcome in outcomes:
            if outcome.attempt is not None:
                self._note(
                    outcome.attempt,
                    signal or outcome.kill_signal,
                    outcome.kill_grace_s if grace_s is None else grace_s,
                )
                fresh.append(outcome.attempt.id)
        await self.send(fresh)

    async def resume(self, attempt: Attempt, signal: str, grace_s: float) -> None:
        """Continue a kill requested before a restart, with the next :meth:`repeat`."""
        self._note(attempt, signal, grace_s)

    async def send(self, attempt_ids: Sequence[AttemptId]) -> None:
        """Send the orders about these attempts, as far as there are any."""
        by_worker: dict[WorkerId, list[KillOrder]] = {}
        for attempt_id in attempt_ids:
            if (pending := self._pending.get(attempt_id)) is not None:
                by_worker.setdefault(pending[0], []).append(pending[1])
        if by_worker:
            await all_at_once([partial(self._tell, *one) for one in by_worker.items()])

    async def _tell(self, worker_id: WorkerId, orders: list[KillOrder]) -> None:
        try:
            worker = await self._transport.to_worker(worker_id)
            await worker.kill(orders)
        except WorkerUnreachable:
            # It joins again and gets the order then, or is lost and its attempts are fenced.
            return

    async def repeat(self) -> None:
        """Send again what has not led to an end yet."""
        await self.send(list(self._pending)[:SENT_AT_ONCE])

    async def run(self) -> None:
        """Repeat what was ordered here, until cancelled."""
        rounds = 0
        while True:
            await self._clock.sleep(REPEAT_S)
            await self.repeat()
            rounds = rounds + 1 if self._pending else 0
            if rounds >= PATIENCE:
                rounds = 0
                await self._forget_over()

    async def _forget_over(self) -> None:
        """Forget orders whose attempts have ended without our being told."""
        if self._running is None:
            return
        # Read later than these were noted; one that is noted meanwhile may not be in it yet.
        noted = list(self._pending)
        try:
            running = await self._running()
        except (Unavailable, Overloaded):
            return
        for attempt_id in noted:
            if attempt_id not in running:
                self._pending.pop(attempt_id, None)

    @property
    def pending_count(self) -> int:
        """Kills ordered and not yet proven."""
        return len(self._pending)

    def _note(self, attempt: Attempt, signal: str, grace_s: float) -> None:
        order = KillOrder(attempt.id, attempt.lease_token, signal, grace_s)
        self._pending[attempt.id] = (attempt.worker_id, order)

    def _forget_ended(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if (
                change.attempt_id is not None
                and change.was is TaskState.RUNNING
                and change.state is not TaskState.RUNNING
            ):
                self._pending.pop(change.attempt_id, None)
