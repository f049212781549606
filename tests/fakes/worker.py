"""A worker that does as a test says, and the transport that leads to it."""

from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from taskyard.core.attempts import Attempt, Ended, KillReport, Report, Started
from taskyard.core.availability import RuntimeStatus, available
from taskyard.core.errors import StaleLease, Unavailable
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, WorkerId
from taskyard.core.resources import Capacity
from taskyard.core.scheduling.cpu_allocation import Topology
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.errors import WorkerUnreachable
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, WorkerEnd

if TYPE_CHECKING:
    from fakes.engine import World

GIB = 1 << 30


class FakeTransport:
    """Implements ``ports.transport.Transport`` for the engine's side."""

    def __init__(self) -> None:
        self.workers: dict[WorkerId, FakeWorker] = {}

    async def serve(self, engine: EngineEnd) -> None:
        """Nothing to do: fake workers are handed the engine."""

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Fake workers join by themselves."""
        raise NotImplementedError(worker_id, worker)

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """See the port."""
        await checkpoint()
        worker = self.workers.get(worker_id)
        if worker is None or not worker.reachable:
            raise WorkerUnreachable
        return worker

    async def close(self) -> None:
        """Nothing is open."""


class FakeWorker:
    """A worker that runs nothing and reports what a test says."""

    def __init__(self, world: "World", name: str, slots: int, capacity: Capacity | None) -> None:
        self.id = WorkerId(name)
        self.capacity = capacity or Capacity(slots, 1000 * slots, slots * GIB)
        self.incarnation = IncarnationId("")
        self.reachable = True
        self.silent = False
        self.held: dict[AttemptId, Assignment] = {}
        self.assigned: list[Assignment] = []
        self.orders: list[KillOrder] = []
        self.abandoned: list[AttemptId] = []
        """What it killed because its lease was about to end."""
        self.kills = True
        """Whether it does as ordered, at once."""
        self.statuses = {"command": RuntimeStatus()}
        self.topology = Topology()
        self.tags: tuple[str, ...] = ()
        self._world = world
        self._unacknowledged: list[Report] = []

    # -- what the engine calls ---------------------------------------------------------------

    async def assign(self, assignments: list[Assignment]) -> None:
        """See ``ports.transport.WorkerEnd``."""
        await checkpoint()
        for assignment in assignments:
            self.assigned.append(assignment)
            self.held[assignment.attempt_id] = assignment

    async def kill(self, orders: list[KillOrder]) -> None:
        """See ``ports.transport.WorkerEnd``."""
        await checkpoint()
        self.orders += orders
        if not self.kills:
            return
        for order in orders:
            if order.attempt_id in self.held:
                now = self._world.clock.now()
                await self.end(
                    order.attempt_id,
                    AttemptState.KILLED,
                    reason=Reason.KILLED,
                    kill_report=KillReport(now, now, order.signal, killed_count=1),
                )

    # -- what a test calls -------------------------------------------------------------------

    async def join(self, *, again: bool = True) -> list[Attempt]:
        """Join as a new incarnation and hold what the engine says."""
        if again:
            self.incarnation = self._world.ids.incarnation()
        self.silent = False
        usable = available(self.statuses)
        hello = Hello(
            self.id,
            self.incarnation,
            "host",
            "1",
            self.capacity,
            usable,
            dict(self.statuses),
            self.topology,
            self.tags,
        )
        attempts = await self._world.gateway.joined(hello)
        for attempt in attempts:
            assignment = await self._world.gateway.resolve(attempt)
            if assignment is not None:
                self.held.setdefault(attempt.id, assignment)
        await self._world.dispatching()
        return attempts

    async def beat(self) -> None:
        """A sign of life; joins again when told to."""
        if self.silent:
            return
        try:
            now = self._world.clock.now()
            beat = Heartbeat(self.id, self.incarnation, now, dict(self.statuses))
            if not await self._world.gateway.beat(beat):
                await self.join()
            await self.flush()
        except StaleLease:
            await self.abandon()
        except Unavailable:
            return

    async def abandon(self) -> None:
        """Kill everything, as its lease is about to end, and join again as soon as that goes."""
        for attempt_id in list(self.held):
            self.abandoned.append(attempt_id)
            await self.end(attempt_id, AttemptState.KILLED, reason=Reason.KILLED)
        self.held.clear()
        try:
            await self.join()
        except Unavailable:
            return

    async def start(self, attempt_id: AttemptId) -> list[LeaseToken]:
        """Report that an attempt runs; answers with what the engine refuses."""
        assignment = self.held[attempt_id]
        now = self._world.clock.now()
        return await self.report(Started(attempt_id, assignment.lease_token, now, {"pid": 1}))

    async def end(
        self, attempt_id: AttemptId, state: AttemptState = AttemptState.SUCCEEDED, **more: Any
    ) -> list[LeaseToken]:
        """Report that an attempt is over."""
        assignment = self.held[attempt_id]
        now = self._world.clock.now()
        return await self.report(Ended(attempt_id, assignment.lease_token, now, state, **more))

    async def report_for(self, assignment: Assignment, state: AttemptState) -> list[LeaseToken]:
        """Report the end of something it may not hold any more."""
        now = self._world.clock.now()
        return await self.report(Ended(assignment.attempt_id, assignment.lease_token, now, state))

    async def report(self, report: Report) -> list[LeaseToken]:
        """Say it until it is acknowledged."""
        self._unacknowledged.append(report)
        return await self.flush()

    async def flush(self) -> list[LeaseToken]:
        """Repeat what was not acknowledged; forget what is over or refused."""
        reports, self._unacknowledged = self._unacknowledged, []
        if not reports:
            return []
        try:
            refused = await self._world.gateway.report(reports)
        except Unavailable:
            self._unacknowledged = reports + self._unacknowledged
            return []
        for report in reports:
            if isinstance(report, Ended) or report.lease_token in refused:
                self.held.pop(report.attempt_id, None)
        return refused
