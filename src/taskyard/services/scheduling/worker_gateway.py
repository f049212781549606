"""What workers may call: joining, heartbeats, and reports about attempts."""

from collections.abc import Sequence
from typing import Protocol

from taskyard.core.attempts import Attempt, Report
from taskyard.core.errors import NotFound, StaleLease
from taskyard.core.ids import LeaseToken
from taskyard.ports.clock import Clock, Ids
from taskyard.ports.dispatching import DispatchStore, WorkerRecord
from taskyard.ports.runtime import Assignment
from taskyard.ports.store import TaskStore
from taskyard.ports.transport import Heartbeat, Hello
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.assignments import Assignments
from taskyard.services.scheduling.cluster_state import ClusterState
from taskyard.services.scheduling.dispatch import Dispatch
from taskyard.services.scheduling.kill import KillOrders
from taskyard.services.scheduling.leases import Leases


class Arrivals(Protocol):
    """Who wants to see reports between their commit and their announcement."""

    def arrived(self, reports: Sequence[Report]) -> None:
        """These are stored."""
        ...

    def announced(self) -> None:
        """They were announced."""
        ...


class _Nobody:
    def arrived(self, reports: Sequence[Report]) -> None:
        """Not interested."""

    def announced(self) -> None:
        """Not interested."""


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
    ) -> None:
        self._calls = calls or _Nobody()
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
        now = self._clock.now()
        record = WorkerRecord(
            id=hello.worker_id,
            incarnation=hello.incarnation,
            hostname=hello.hostname,
            version=hello.version,
            capacity=hello.capacity,
            runtimes=hello.runtimes,
            joined_at=now,
            beat_at=now,
            statuses=hello.statuses,
            topology=hello.topology,
            tags=hello.tags,
            metadata=hello.metadata,
        )
        attempts = await self._store.join(record)
        for attempt in attempts:
            task = await self._tasks.task(attempt.workspace, attempt.task_id)
            if task.kill_requested_at is not None:
                await self._kill.resume(attempt, task.spec.kill_signal, task.spec.kill_grace_s)
        self._leases.joined(record.id)
        self._dispatch.joined(record)
        return attempts

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """See the port. Never waits for the store, which may be late while its worker is not."""
        worker_id, incarnation = heartbeat.worker_id, heartbeat.incarnation
        if not self._cluster.beat(worker_id, incarnation, self._clock.now()):
            return False
        if heartbeat.statuses is not None and self._cluster.tell(worker_id, heartbeat.statuses):
            self._dispatch.wake()
        return not self._leases.is_fenced(worker_id, incarnation)

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """See the port."""
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
