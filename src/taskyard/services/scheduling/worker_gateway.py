"""What workers may call: joining, heartbeats, and reports about attempts."""

import time
from collections.abc import Callable

from taskyard.core.attempts import Attempt, Report
from taskyard.core.errors import NotFound, StaleLease, Unavailable
from taskyard.core.ids import LeaseToken, PlaneId, WorkerId
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import ONLY_PLANE, DispatchStore
from taskyard.ports.runtime import Assignment
from taskyard.ports.store import TaskStore
from taskyard.ports.transport import Heartbeat, Hello
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.arrivals import Arrivals, NoArrivals
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.joining import record_of, resume_kills
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.plane_workers import PlaneWorkers


class WorkerGateway:
    """Implements ``ports.transport.EngineEnd``."""

    def __init__(
        self,
        store: DispatchStore,
        tasks: TaskStore,
        assignments: Assignments,
        dispatch: Dispatch,
        kill: KillOrders,
        cluster: ClusterState,
        leases: Leases,
        bus: Bus,
        clock: Clock,
        ids: Ids,
        calls: Arrivals | None = None,
        beside: PlaneWorkers | None = None,
        plane_id: PlaneId = ONLY_PLANE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``beside`` are the workers of this plane, if there are several planes."""
        self._beside = beside
        self._plane_id = plane_id
        self._monotonic = monotonic
        self._calls = calls or NoArrivals()
        self._store = store
        self._tasks = tasks
        self._assignments = assignments
        self._dispatch = dispatch
        self._kill = kill
        self._cluster = cluster
        self._leases = leases
        self._bus = bus
        self._clock = clock
        self._ids = ids

    async def joined(self, hello: Hello) -> list[Attempt]:
        """See the port."""
        await self._lose_lapsed(hello.worker_id)
        now, asked_at = self._clock.now(), self._monotonic()
        record = record_of(hello, self._plane_id, now)
        attempts = await self._store.join(record)
        await resume_kills(attempts, self._tasks, self._kill)
        self._leases.joined(record.id, record.incarnation, asked_at)
        if self._beside is not None:
            self._beside.join(record)
        self._dispatch.joined(record)
        return attempts

    async def _lose_lapsed(self, worker_id: WorkerId) -> None:
        """Have run elsewhere what a worker has stopped because its lease was about to end."""
        incarnation = self._leases.lapsed(worker_id)
        if incarnation is not None:
            now = self._clock.now()
            self._bus.publish(await self._store.lose(worker_id, incarnation, now))

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """See the port. Never waits for the store, which may be late while its worker is not."""
        worker_id, incarnation = heartbeat.worker_id, heartbeat.incarnation
        here = self._cluster if self._beside is None else self._beside
        if self._leases.lapsed(worker_id) == incarnation:
            raise StaleLease
        if not here.beat(worker_id, incarnation, self._clock.now()):
            return False
        if heartbeat.statuses is not None and here.tell(worker_id, heartbeat.statuses):
            self._dispatch.wake()
        return not self._leases.is_fenced(worker_id, incarnation)

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """See the port. Raises ``Unavailable`` while a worker's lease has lapsed.

        What it stopped for that did not end by itself, and runs elsewhere; see :meth:`joined`.
        """
        if self._beside is not None and any(
            self._leases.lapsed(one.id) is not None for one in self._beside.records()
        ):
            raise Unavailable("the lease of a worker could not be renewed in time")
        chances = [self._ids.chance() for _ in reports]
        changes, refused = await self._store.apply(reports, self._clock.now(), chances)
        self._calls.arrived(reports)
        self._bus.publish(changes)
        self._calls.announced()
        return refused

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """See the port. A secret that is gone by now does not matter to work that already runs."""
        try:
            task = await self._tasks.task(attempt.workspace, attempt.task_id)
        except NotFound:
            return None
        if task.current_attempt != attempt.id:
            raise StaleLease
        return await self._assignments.build(task, attempt, lenient=True)
