"""Hands placed attempts to their workers, with everything that they need."""

from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from taskyard.core.attempts import Ended
from taskyard.core.errors import NotFound, Overloaded, TaskyardError, Unavailable
from taskyard.core.ids import AttemptId, LeaseToken, WorkerId
from taskyard.core.states import Reason
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import DispatchStore, PlacedAttempt
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.runtime import Assignment
from taskyard.ports.transport import Transport
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.assignments import Assignments, NothingToRun
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.fan_out import all_at_once
from taskyard.services.scheduling.kill import KillOrders

UNREACHED = 10_000
"""Attempts remembered whose workers could not be reached."""

log = structlog.get_logger(__name__)


class AssignmentSender:
    """Sends assignments, and ends the attempts that cannot be sent."""

    def __init__(
        self,
        store: DispatchStore,
        transport: Transport,
        assignments: Assignments,
        kill: KillOrders,
        bus: Bus,
        cluster: ClusterState,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._transport = transport
        self._assignments = assignments
        self._kill = kill
        self._bus = bus
        self._cluster = cluster
        self._clock = clock
        self._ids = ids
        self._waiting: list[PlacedAttempt] = []
        """Placed and not sent yet, or what their workers need could not be put together."""
        self._unreached: dict[AttemptId, PlacedAttempt] = {}
        """Those whose workers could not be reached, see :meth:`retry_unreached`."""

    def later(self, placed: PlacedAttempt) -> None:
        """Have this sent by the next :meth:`send_waiting`."""
        self._waiting.append(placed)

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._unreached.clear()

    def take_waiting(self) -> list[PlacedAttempt]:
        """Those for which what their workers need could not be put together; forgets them."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def retry_unreached(self) -> bool:
        """Have sent again what did not reach its worker; whether there is any.

        For workers beside other planes, to whom messages may be lost; one beside this plane joins
        again, and is told then.
        """
        held = [one for one in self._unreached.values() if self._cluster.holds(one.attempt.id)]
        self._unreached.clear()
        self._waiting += held
        return bool(held)

    async def send_waiting(self) -> None:
        """Send what waits, unless it has ended meanwhile. Raises as :meth:`send`."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            await self.send([one for one in waiting if self._cluster.holds(one.attempt.id)])

    async def send(self, placed: Sequence[PlacedAttempt]) -> None:
        """Send assignments to their workers.

        Raises:
            Unavailable, Overloaded: some could not be put together now; they wait.
        """
        by_worker: dict[WorkerId, list[Assignment]] = {}
        by_id = {one.attempt.id: one for one in placed}
        trouble: TaskyardError | None = None
        for one in placed:
            try:
                assignment = await self._assignment(one)
            except (Unavailable, Overloaded) as error:
                self._waiting.append(one)
                trouble = error
                continue
            if assignment is None:
                continue
            by_worker.setdefault(one.attempt.worker_id, []).append(assignment)
        if by_worker:
            await all_at_once(
                [partial(self._hand, name, assigned, by_id) for name, assigned in by_worker.items()]
            )
        if trouble is not None:
            raise trouble

    async def _hand(
        self,
        worker_id: WorkerId,
        assignments: list[Assignment],
        by_id: Mapping[AttemptId, PlacedAttempt],
    ) -> None:
        try:
            worker = await self._transport.to_worker(worker_id)
            await worker.assign(assignments)
        except WorkerUnreachable:
            # It joins again and is told then, or is lost and its attempts are fenced.
            log.warning("worker_unreachable", worker_id=worker_id, attempts=len(assignments))
            ids = [assignment.attempt_id for assignment in assignments]
            self._unreached |= {one: by_id[one] for one in ids}
            while len(self._unreached) > UNREACHED:
                del self._unreached[next(iter(self._unreached))]
            return
        # A kill may have been ordered between the commit and the assignment.
        await self._kill.send([assignment.attempt_id for assignment in assignments])

    async def end(
        self, attempt_id: AttemptId, token: LeaseToken, reason: Reason, message: str
    ) -> None:
        """End an attempt that its worker never heard of; nothing if it was never stored."""
        now = self._clock.now()
        ended = Ended.never_ran(attempt_id, token, now, reason, message)
        changes, _ = await self._store.apply([ended], now, [self._ids.chance()])
        self._bus.publish(changes)

    async def _assignment(self, placed: PlacedAttempt) -> Assignment | None:
        """What to send; None if the attempt had to be ended instead."""
        attempt = placed.attempt
        try:
            return await self._assignments.build(placed.task, attempt)
        except NotFound as error:
            text = f"there is no secret {error.key!r}; store it, then retry the task"
            await self.end(attempt.id, attempt.lease_token, Reason.SECRET_MISSING, text)
        except NothingToRun as error:
            await self.end(attempt.id, attempt.lease_token, Reason.START_FAILED, str(error))
        except TaskyardError as error:
            # Trouble of this task's secrets must not hold up others.
            await self.end(attempt.id, attempt.lease_token, Reason.RUNTIME_TROUBLE, str(error))
        except Exception as error:
            # A defect must cost this attempt its start, and not all others theirs.
            log.exception("assignment_defect", attempt_id=attempt.id)
            text = f"what it needs could not be put together: {error!r}"
            await self.end(attempt.id, attempt.lease_token, Reason.RUNTIME_TROUBLE, text)
        return None
