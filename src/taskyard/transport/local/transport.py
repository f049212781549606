"""Connects an engine with workers in the same process by plain calls."""

import anyio

from taskyard.core.attempts import Attempt, Report
from taskyard.core.ids import LeaseToken, WorkerId
from taskyard.ports.errors import TransportClosed, WorkerUnreachable
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Heartbeat, Hello, WorkerEnd


class LocalTransport:
    """The transport port within one process."""

    def __init__(self) -> None:
        self._engine: EngineEnd | None = None
        self._served = anyio.Event()
        self._workers: dict[WorkerId, WorkerEnd] = {}
        self._closed = False

    async def serve(self, engine: EngineEnd) -> None:
        """Begin to take calls for the engine."""
        self._check()
        self._engine = engine
        self._served.set()

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Attach a worker, in place of one that had its id; waits until an engine is served."""
        self._check()
        await self._served.wait()
        self._check()
        self._workers[worker_id] = worker
        return _EngineProxy(self)

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """The other end of a worker. Raises ``WorkerUnreachable`` if it is not connected."""
        return _WorkerProxy(self, worker_id, self.worker(worker_id))

    async def close(self) -> None:
        """Detach everybody; calls under way are not disturbed."""
        self._closed = True
        self._engine = None
        self._workers.clear()
        self._served.set()

    def engine(self) -> EngineEnd:
        """The engine itself. Raises ``TransportClosed``."""
        self._check()
        if self._engine is None:
            raise TransportClosed
        return self._engine

    def worker(self, worker_id: WorkerId) -> WorkerEnd:
        """The worker itself. Raises ``TransportClosed``, ``WorkerUnreachable``."""
        self._check()
        try:
            return self._workers[worker_id]
        except KeyError:
            raise WorkerUnreachable(f"worker {worker_id} is not connected") from None

    def _check(self) -> None:
        if self._closed:
            raise TransportClosed


class _EngineProxy:
    """The engine as a worker sees it: gone once the transport is closed."""

    def __init__(self, transport: LocalTransport) -> None:
        self._transport = transport

    async def joined(self, hello: Hello) -> list[Attempt]:
        return await self._transport.engine().joined(hello)

    async def beat(self, heartbeat: Heartbeat) -> bool:
        return await self._transport.engine().beat(heartbeat)

    async def report(self, reports: list[Report]) -> list[LeaseToken]:
        return await self._transport.engine().report(reports)

    async def resolve(self, attempt: Attempt) -> Assignment | None:
        return await self._transport.engine().resolve(attempt)


class _WorkerProxy:
    """One connection of a worker as the engine sees it: gone once another takes its place."""

    def __init__(self, transport: LocalTransport, worker_id: WorkerId, worker: WorkerEnd) -> None:
        self._transport = transport
        self._worker_id = worker_id
        self._worker = worker

    async def assign(self, assignments: list[Assignment]) -> None:
        await self._present().assign(assignments)

    async def kill(self, orders: list[KillOrder]) -> None:
        await self._present().kill(orders)

    def _present(self) -> WorkerEnd:
        if self._transport.worker(self._worker_id) is not self._worker:
            raise WorkerUnreachable(f"worker {self._worker_id} has connected again")
        return self._worker
