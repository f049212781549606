"""One control plane, and workers on other machines that reach it when they can."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from fakes.engine import World
from fakes.memory import MemoryStore
from fakes.worker import FakeWorker
from taskyard.core.attempts import Attempt, Report
from taskyard.core.errors import NotAuthenticated
from taskyard.core.ids import IncarnationId, LeaseToken, WorkerId
from taskyard.ports.errors import Unreachable
from taskyard.ports.runtime import Assignment
from taskyard.ports.transport import Heartbeat, Hello, LeaseState
from taskyard.services.scheduling.arrivals import NoArrivals
from taskyard.services.scheduling.hearing import Hearing
from taskyard.services.scheduling.joined_gateway import JoinedGateway
from taskyard.services.scheduling.lease_beats import LeaseBeats
from taskyard.services.scheduling.rescue import Rescue
from taskyard.services.scheduling.worker_places import WorkerPlaces


class JoinedWorld(World):
    """The services of a control plane with NATS that can be taken away."""

    def __init__(self, store: Any = None, *, is_only_plane: bool = True) -> None:
        super().__init__(store)
        self.is_connected = True
        self.connects = 1
        self.tags: dict[WorkerId, tuple[str, ...]] = {}
        """Of valid credentials."""
        self.places = WorkerPlaces()
        self.hearing = Hearing(
            lambda: self.is_connected, lambda: self.connects, self.clock.monotonic
        )
        dispatching = self.store.dispatch
        self.beats = LeaseBeats(dispatching, self.clock)
        self.joined = JoinedGateway(
            dispatching,
            self.store.tasks,
            self.assignments,
            self.dispatch,
            self.kill,
            self.places,
            self.beats,
            self.bus,
            self.clock,
            self.ids,
            NoArrivals(),
            self._admit,
            self.rooms if is_only_plane else None,
        )
        self.rescue = Rescue(
            dispatching,
            self.dispatch,
            self.kill,
            self.rooms,
            self.leases,
            self.bus,
            self.clock,
            self.clock.monotonic,
            self.hearing,
        )

    async def _admit(self, worker_id: WorkerId) -> Sequence[str]:
        if worker_id not in self.tags:
            raise NotAuthenticated
        return self.tags[worker_id]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["JoinedWorld"]:
        """With heartbeats of workers on other machines."""
        async with super().running(), anyio.create_task_group() as tasks:
            tasks.start_soon(self.beats.run)
            yield self
            tasks.cancel_scope.cancel()

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass in steps; workers beat every second, and wait for the answer."""
        end, beats_at = self.clock.monotonic() + seconds, 0.0
        async with anyio.create_task_group() as beating:
            while (left := end - self.clock.monotonic()) > 1e-9:
                if self.clock.monotonic() >= beats_at:
                    beats_at = self.clock.monotonic() + 1
                    for worker in self.transport.workers.values():
                        beating.start_soon(worker.beat)
                await self.complete()
                self.clock.advance(min(step, left))
                await self.complete()
            # What was asked last is answered after the time in which heartbeats are gathered.
            self.clock.advance(step)
            await self.complete()

    async def far(self, name: str = "far", slots: int = 1) -> FakeWorker:
        """A worker on another machine that has joined."""
        self.tags.setdefault(WorkerId(name), ())
        end: Any = _End(self, WorkerId(name))
        worker = FakeWorker(end, name, slots, None)
        self.transport.workers[worker.id] = worker
        await worker.join()
        return worker


class _End:
    """What one of them sees of the world."""

    def __init__(self, world: JoinedWorld, worker_id: WorkerId) -> None:
        self._world = world
        self._worker_id = worker_id
        self.clock = world.clock
        self.ids = world.ids
        self.dispatching = world.dispatching
        self.gateway = self

    def _check(self) -> None:
        if not self._world.is_connected:
            raise Unreachable

    async def joined(self, hello: Hello, lapsed: Sequence[IncarnationId] = ()) -> list[Attempt]:
        """See ``ports.transport.EngineEnd``."""
        self._check()
        return await self._world.joined.joined(self._worker_id, hello, lapsed)

    async def beat(self, heartbeat: Heartbeat) -> bool:
        """See ``ports.transport.EngineEnd``."""
        self._check()
        state = await self._world.joined.beat(self._worker_id, heartbeat)
        return state is LeaseState.HELD

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        """See ``ports.transport.EngineEnd``."""
        self._check()
        return await self._world.joined.report(self._worker_id, reports, self.clock.now())

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        """See ``ports.transport.EngineEnd``."""
        self._check()
        return await self._world.joined.resolve(self._worker_id, attempt)


def counting(store: MemoryStore) -> list[int]:
    """How many leases were renewed each time, from now on."""
    counts: list[int] = []
    renew = store.dispatch.renew

    async def counted(holders: Any, now: Any, lease_s: float = 10.0) -> Any:
        counts.append(len(holders))
        return await renew(holders, now, lease_s)

    store.dispatch.renew = counted
    return counts
