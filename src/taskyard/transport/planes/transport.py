"""Connects an engine with workers beside any control plane of its installation.

A worker talks to the plane beside it by plain calls. Orders from another plane are requests to that
one, which hands them to the worker and acknowledges them. A request may be lost or arrive twice:
workers take on an attempt once, and orders that were not acknowledged are given again.
"""

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from msgspec import Raw

from taskyard.core.errors import InvalidInput, Overloaded, Unavailable
from taskyard.core.ids import PlaneId, WorkerId
from taskyard.core.instants import seconds_between
from taskyard.ports.clock import Clock
from taskyard.ports.errors import PayloadTooLarge, TimedOut, TransportClosed, WorkerUnreachable
from taskyard.ports.messages import Messages
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import EngineEnd, Transport, WorkerEnd
from taskyard.transport.batches import batches
from taskyard.transport.handing import hand
from taskyard.transport.planes.orders import (
    ASSIGN,
    ASSIGN_DECODER,
    BATCH_BYTES,
    CONNECTED,
    CONNECTED_DECODER,
    KILL,
    KILL_DECODER,
    AssignEncoded,
    Connected,
    Kill,
    encode,
)

ACKNOWLEDGED_S: Final = 1.0
"""Seconds until an order counts as lost."""
SILENT_S: Final = 2.0
"""Seconds for which a plane that acknowledged nothing is not asked again: whoever gives orders must
not wait for one that is gone, again and again, while the others need theirs."""
OLD_S: Final = 5.0
"""An assignment that was made longer ago is checked before its worker gets it."""
_KNOWN: Final = 10_000
"""Connections of workers beside other planes that are remembered."""

IsCurrent = Callable[[Assignment], Awaitable[bool]]
"""Whether an attempt is still its task's current one, on the worker that it was given to."""
Told = TypeVar("Told")

log = structlog.get_logger(__name__)


class PlaneTransport:
    """The transport port between one plane's engine and the workers of all planes.

    Args:
        local: connects the workers beside this plane.
        messages: reaches the other planes.
        plane_of: the plane beside which a worker lives; None if nobody knows.
        clock: tells how old assignments are.
        tasks: where orders are handed to workers here; a request's end must not interrupt that.
        is_current: checks assignments that come late, such as to a plane that was stopped for a
            while; nobody checks when None.
    """

    def __init__(
        self,
        local: Transport,
        messages: Messages,
        plane_of: Callable[[WorkerId], PlaneId | None],
        clock: Clock,
        tasks: TaskGroup,
        is_current: IsCurrent | None = None,
    ) -> None:
        self._local = local
        self._messages = messages
        self._plane_of = plane_of
        self._clock = clock
        self._tasks = tasks
        self._is_current = is_current
        self._connections: dict[WorkerId, str] = {}
        """Of workers beside this plane: which of their connections is the latest."""
        self._known: dict[WorkerId, str] = {}
        """The same of other workers, as far as it was heard."""
        self._silent_until: dict[PlaneId, float] = {}
        self._closed = False
        messages.serve(CONNECTED, self._on_connected)
        messages.serve(ASSIGN, self._on_assign)
        messages.serve(KILL, self._on_kill)

    async def serve(self, engine: EngineEnd) -> None:
        """Begin to take calls for the engine."""
        await self._local.serve(engine)

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Attach a worker beside this plane."""
        engine = await self._local.connect(worker_id, worker)
        self._connections[worker_id] = secrets.token_hex(8)
        return engine

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """The other end of a worker. Raises ``WorkerUnreachable`` if it is not connected."""
        plane = self._plane_of(worker_id)
        if not plane or plane == self._messages.plane_id or worker_id in self._connections:
            return await self._local.to_worker(worker_id)
        connection = self._known.get(worker_id)
        if connection is None:
            return _RemoteWorker(self, plane, worker_id, await self.connection(plane, worker_id))
        return _RemoteWorker(self, plane, worker_id, connection, is_remembered=True)

    async def close(self) -> None:
        """Detach all workers."""
        self._closed = True
        self._connections.clear()
        await self._local.close()

    async def connection(self, plane: PlaneId, worker_id: WorkerId) -> str:
        """Ask a plane which connection of a worker it has. Raises as :meth:`ask`."""
        self._known.pop(worker_id, None)
        connection = await self.ask(plane, CONNECTED, encode(Connected(worker_id)))
        while len(self._known) >= _KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[worker_id] = connection
        return connection

    async def ask(self, plane: PlaneId, what: str, payload: bytes) -> str:
        """Send an order.

        Raises:
            NotAcknowledged: nobody knows whether it arrived.
            WorkerUnreachable: it did, and the worker is not there.
            TransportClosed: this transport was closed.
        """
        if self._closed:
            raise TransportClosed
        if anyio.current_time() < self._silent_until.get(plane, 0.0):
            raise NotAcknowledged(f"control plane {plane} does not answer")
        try:
            answer = await self._messages.request(plane, what, payload, ACKNOWLEDGED_S)
        except TimedOut as error:
            self._silent_until[plane] = anyio.current_time() + SILENT_S
            raise NotAcknowledged(str(error)) from error
        except (Unavailable, Overloaded, PayloadTooLarge) as error:
            raise NotAcknowledged(str(error)) from error
        return answer.decode("ascii")

    async def _on_connected(self, payload: bytes) -> bytes:
        asked = _decoded(CONNECTED_DECODER, payload)
        return self._connection(asked.worker_id).encode("ascii")

    async def _on_assign(self, payload: bytes) -> bytes:
        told = _decoded(ASSIGN_DECODER, payload)
        worker = await self._present(told.worker_id, told.connection)
        current = [one for one in told.assignments if await self._may_begin(one)]
        if current:
            await hand(self._tasks, partial(worker.assign, current))
        return b""

    async def _on_kill(self, payload: bytes) -> bytes:
        told = _decoded(KILL_DECODER, payload)
        worker = await self._present(told.worker_id, told.connection)
        await hand(self._tasks, partial(worker.kill, told.orders))
        return b""

    async def _present(self, worker_id: WorkerId, connection: str) -> WorkerEnd:
        if connection != self._connection(worker_id):
            raise WorkerUnreachable(f"worker {worker_id} has connected again")
        return await self._local.to_worker(worker_id)

    def _connection(self, worker_id: WorkerId) -> str:
        try:
            return self._connections[worker_id]
        except KeyError:
            raise WorkerUnreachable(f"worker {worker_id} is not connected") from None

    async def _may_begin(self, assignment: Assignment) -> bool:
        age_s = seconds_between(assignment.assigned_at, self._clock.now())
        if self._is_current is None or age_s < OLD_S:
            return True
        if await self._is_current(assignment):
            return True
        log.warning("assignment_too_late", attempt_id=assignment.attempt_id, age_s=round(age_s))
        return False


class NotAcknowledged(WorkerUnreachable):
    """The order may or may not have reached the worker's control plane."""


class _RemoteWorker:
    """One connection of a worker beside another plane."""

    def __init__(
        self,
        transport: PlaneTransport,
        plane: PlaneId,
        worker_id: WorkerId,
        connection: str,
        *,
        is_remembered: bool = False,
    ) -> None:
        self._transport = transport
        self._plane = plane
        self._worker_id = worker_id
        self._connection = connection
        self._is_remembered = is_remembered
        """Whether the worker may have connected again before this was made."""

    async def assign(self, assignments: list[Assignment]) -> None:
        for batch in batches(assignments, BATCH_BYTES):
            await self._tell(ASSIGN, partial(_assign, self._worker_id, batch))

    async def kill(self, orders: list[KillOrder]) -> None:
        await self._tell(KILL, lambda connection: Kill(self._worker_id, connection, orders))

    async def _tell(self, what: str, order: Callable[[str], AssignEncoded | Kill]) -> None:
        try:
            await self._transport.ask(self._plane, what, encode(order(self._connection)))
        except NotAcknowledged:
            raise
        except WorkerUnreachable:
            found = await self._transport.connection(self._plane, self._worker_id)
            if not self._is_remembered:
                raise
            self._connection, self._is_remembered = found, False
            await self._transport.ask(self._plane, what, encode(order(found)))


def _assign(worker_id: WorkerId, batch: list[Raw], connection: str) -> AssignEncoded:
    return AssignEncoded(worker_id, connection, batch)


def _decoded(decoder: msgspec.msgpack.Decoder[Told], payload: bytes) -> Told:
    try:
        return decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidInput("order", str(error)) from error
