"""Several control planes on one store and one message hub, each with its own services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from fakes.clock import CountingIds, VirtualClock, settled
from fakes.engine import WS, World
from fakes.memory import MemoryStore
from fakes.worker import FakeWorker
from taskyard.core.ids import PlaneId, TaskId, Term, WorkerId
from taskyard.core.tasks import Task
from taskyard.ports.leadership import Plane as RegisteredPlane
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.assignment_sender import AssignmentSender
from taskyard.services.scheduling.fleet_watch import FleetWatch
from taskyard.services.scheduling.leases import Leases
from taskyard.services.scheduling.lent_room import LentRoom
from taskyard.services.scheduling.plane_placing import PlanePlacing
from taskyard.services.scheduling.plane_workers import PlaneWorkers
from taskyard.services.scheduling.remote_scheduler import LeaderEnd, RemoteScheduler
from taskyard.services.scheduling.worker_gateway import WorkerGateway
from taskyard.services.scheduling.worker_places import WorkerPlaces
from taskyard.services.tasks.enqueue import Enqueue
from taskyard.transport.local.messages import LocalMessageHub, local_message_hub


class Plane(World):
    """One control plane's services; whether it leads is said by the test."""

    def __init__(
        self, name: str, store: MemoryStore, clock: VirtualClock, ids: CountingIds, planes: "Planes"
    ) -> None:
        super().__init__(store, clock=clock, ids=ids, bus=planes.bus)
        self.name = PlaneId(name)
        self.term: Term | None = None
        self.planes = planes
        self.transport.workers = planes.workers
        self.beside = PlaneWorkers(clock.monotonic)
        self.leases = Leases(store.dispatch, self.rooms, clock, clock.monotonic, self.beside)
        self.gateway = WorkerGateway(
            store.dispatch,
            store.tasks,
            self.assignments,
            self.dispatch,
            self.kill,
            self.rooms,
            self.leases,
            self.bus,
            clock,
            self.ids,
            beside=self.beside,
            plane_id=self.name,
            monotonic=clock.monotonic,
        )
        self.fleet = FleetWatch(
            store.dispatch,
            store.tasks,
            self.dispatch,
            self.kill,
            self.bus,
            clock,
            clock.monotonic,
            lambda: self.term,
        )
        self.dispatch._term = lambda: self.term
        self.messages = planes.hub.plane(self.name)
        self.of_workers = WorkerPlaces()
        self.elsewhere = RemoteScheduler(
            self.messages,
            store.dispatch,
            clock,
            self.of_workers.learn,
            self.dispatch.seen_elsewhere,
        )
        self.lent = LentRoom(self.dispatch, self.bus, clock.monotonic)
        LeaderEnd(self.dispatch, store.tasks, self.messages, self.lent)
        sender = AssignmentSender(
            store.dispatch,
            self.transport,
            self.assignments,
            self.kill,
            self.bus,
            self.rooms,
            clock,
            ids,
        )
        self.placing = PlanePlacing(self.dispatch, self.elsewhere.borrowed, sender, clock)
        self.tasks.enqueue = Enqueue(self.placing, self.bus)
        self.dispatch.elsewhere = self.elsewhere
        self.dispatch.drop()
        self._reign: anyio.CancelScope | None = None

    async def lead(self) -> None:
        """Take the next term, and do what a leader does."""
        await self.planes.take(self)
        await self.dispatch.load()
        await self.fleet.enter()
        self.planes.tasks.start_soon(self._lead)
        await settled()

    async def _lead(self) -> None:
        with anyio.CancelScope() as self._reign:
            async with self.messages.leading(), anyio.create_task_group() as group:
                group.start_soon(self.dispatch.run)
                group.start_soon(self.fleet.run)

    async def stop_leading(self) -> None:
        """Stop, and forget."""
        if self._reign is not None:
            self._reign.cancel()
        await settled()
        self.term = None
        self.dispatch.drop()
        self.fleet.drop()
        self.lent.drop()


class Planes:
    """All of them, their workers, and the time they share."""

    def __init__(self, hub: LocalMessageHub, tasks: anyio.abc.TaskGroup) -> None:
        self.hub = hub
        self.tasks = tasks
        self.clock = VirtualClock()
        self.store = MemoryStore(now=self.clock.now)
        self.ids = CountingIds()
        self.bus = Bus()
        """One for all stands for the change log that planes share."""
        self.workers: dict[WorkerId, FakeWorker] = {}
        self.planes: list[Plane] = []

    def plane(self, name: str) -> Plane:
        """Another one, which follows; all hear of what any of them commits."""
        one = Plane(name, self.store, self.clock, self.ids, self)
        self.planes.append(one)
        self.tasks.start_soon(one.leases.run)
        self.tasks.start_soon(one.kill.run)
        self.tasks.start_soon(one.placing.run)
        self.tasks.start_soon(one.elsewhere.borrowed.run)
        return one

    async def take(self, plane: Plane) -> None:
        """Have a plane hold the next term, in place of whoever has it."""
        present = await self.store.leadership.leader()
        if present is not None:
            await self.store.leadership.resign(present.hold.plane_id, present.hold.term)
        await self.store.leadership.register(RegisteredPlane(plane.name, plane.name, "", "1"))
        plane.term = (await self.store.leadership.claim(plane.name, None, 3600.0)).hold.term

    async def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass in steps; workers beat at each."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await settled()
            for worker in list(self.workers.values()):
                await worker.beat()
            await settled()

    async def task(self, task_id: TaskId) -> Task:
        """As it is now."""
        return await self.store.tasks.task(WS, task_id)  # type: ignore[no-any-return]


@asynccontextmanager
async def planes() -> AsyncIterator[Planes]:
    """None yet; all end with it."""
    async with local_message_hub() as hub, anyio.create_task_group() as tasks:
        yield Planes(hub, tasks)
        tasks.cancel_scope.cancel()


def worker_id(world: Planes, name: str) -> WorkerId:
    """Of a worker that was begun."""
    return next(one for one in world.workers if one == name)
