"""What workers on other machines and the planes' end of them are tried with, over a real NATS."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup, TaskStatus

from fakes.clock import VirtualClock
from taskyard.core.attempts import Attempt, Report
from taskyard.core.ids import IncarnationId, LeaseToken, PlaneId, WorkerId
from taskyard.core.instants import Instant
from taskyard.ports.runtime import Assignment
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, LeaseState, WorkerEnd
from taskyard.transport.local import LocalTransport
from taskyard.transport.nats.messages import NatsMessages, nats_messages
from taskyard.transport.nats.options import nats_options
from taskyard.transport.nats.worker_messages import NatsWorkerMessages, nats_worker_messages
from taskyard.transport.workers import JoinedTransport, WorkerClient

INSTALLATION = "t"


class Joined:
    """Implements ``ports.transport.JoinedEngine`` on an engine for one worker; knows all lives."""

    def __init__(self, engine: EngineEnd) -> None:
        self._engine = engine
        self.lives: dict[WorkerId, IncarnationId] = {}
        self.lapsed: list[IncarnationId] = []
        self.callers: list[WorkerId] = []
        self.sent_at: list[Instant] = []
        self.drained: set[WorkerId] = set()

    async def joined(
        self, worker_id: WorkerId, hello: Hello, lapsed: Sequence[IncarnationId]
    ) -> list[Attempt]:
        """Note the life."""
        self.callers.append(worker_id)
        self.lives[worker_id] = hello.incarnation
        self.lapsed += lapsed
        return await self._engine.joined(hello)

    async def is_drained(self, worker_id: WorkerId) -> bool:
        """As the test has it."""
        return worker_id in self.drained

    async def beat(self, worker_id: WorkerId, heartbeat: Heartbeat) -> LeaseState:
        """Held, unless another life has joined since."""
        self.callers.append(worker_id)
        if self.lives.get(worker_id, heartbeat.incarnation) != heartbeat.incarnation:
            return LeaseState.REPLACED
        held = await self._engine.beat(heartbeat)
        return LeaseState.HELD if held else LeaseState.FENCED

    async def report(
        self, worker_id: WorkerId, reports: list[Report], sent_at: Instant
    ) -> list[LeaseToken]:
        """As the engine says."""
        self.callers.append(worker_id)
        self.sent_at.append(sent_at)
        return await self._engine.report(reports)

    async def resolve(self, worker_id: WorkerId, attempt: Attempt) -> Assignment | None:
        """As the engine says."""
        self.callers.append(worker_id)
        return await self._engine.resolve(attempt)

    async def leaving(self, worker_id: WorkerId, incarnation: IncarnationId) -> None:
        """Forget the life."""
        if self.lives.get(worker_id) == incarnation:
            del self.lives[worker_id]


class Plane:
    """One control plane's end."""

    def __init__(self, messages: NatsMessages) -> None:
        self.messages = messages
        self.transport = JoinedTransport(LocalTransport(), messages, self._life_of)
        self.joined: Joined | None = None

    def _life_of(self, worker_id: WorkerId) -> IncarnationId | None:
        return None if self.joined is None else self.joined.lives.get(worker_id)

    async def serve(self, engine: EngineEnd) -> Joined:
        """Answer workers with this engine."""
        self.joined = Joined(engine)
        await self.transport.serve(engine)
        await self.transport.serve_joined(self.joined)
        return self.joined


@asynccontextmanager
async def plane(url: str, name: str = "p") -> AsyncIterator[Plane]:
    """A control plane at this NATS."""
    async with nats_messages(nats_options(url), INSTALLATION, PlaneId(name)) as messages:
        made = Plane(messages)
        try:
            yield made
        finally:
            await made.transport.close()


@asynccontextmanager
async def link(
    url: str, worker_id: WorkerId, worker: WorkerEnd
) -> AsyncIterator[tuple[WorkerClient, NatsWorkerMessages]]:
    """A worker's end at this NATS, attached and not joined."""
    options = nats_options(url)
    async with (
        nats_worker_messages(options, INSTALLATION, worker_id, within_s=10) as messages,
        anyio.create_task_group() as tasks,
    ):
        made = WorkerClient(messages, VirtualClock(), tasks)
        await made.connect(worker_id, worker)
        yield made, messages
        tasks.cancel_scope.cancel()


class JoinedWorkers:
    """A transport of which all workers are on other machines."""

    def __init__(self, url: str, end: Plane, tasks: TaskGroup) -> None:
        self._url = url
        self._plane = end
        self._tasks = tasks
        self._closed = False
        self._clients: list[WorkerClient] = []

    async def serve(self, engine: EngineEnd) -> None:
        """Answer workers with this engine."""
        if self._closed:
            await self._plane.transport.serve(engine)
        await self._plane.serve(engine)

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """As a process of its own."""
        if self._closed:
            return await self._plane.transport.connect(worker_id, worker)
        made = await self._tasks.start(self._hold, worker_id, worker)
        assert isinstance(made, WorkerClient)
        self._clients.append(made)
        return made

    async def _hold(
        self, worker_id: WorkerId, worker: WorkerEnd, *, task_status: TaskStatus[WorkerClient]
    ) -> None:
        async with link(self._url, worker_id, worker) as (made, _):
            task_status.started(made)
            await anyio.sleep_forever()

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """From the plane."""
        return await self._plane.transport.to_worker(worker_id)

    async def close(self) -> None:
        """Both ends."""
        self._closed = True
        for one in self._clients:
            await one.close()
        await self._plane.transport.close()
