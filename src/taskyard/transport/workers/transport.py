"""The planes' end: orders to workers on other machines, and answers to what those ask."""

from collections.abc import Callable
from typing import Final

import anyio
import structlog

from taskyard.core.errors import InvalidInput, TaskyardError
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.ports.errors import (
    TimedOut,
    TransportClosed,
    Unreachable,
    WorkerUnreachable,
)
from taskyard.ports.messages import WorkerHandler, WorkerMessages
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.ports.transport import (
    EngineEnd,
    JoinedEngine,
    LeaseState,
    Transport,
    WorkerEnd,
)
from taskyard.transport.batches import batches
from taskyard.transport.workers.wire import (
    ASSIGN,
    BEAT,
    JOINED,
    KILL,
    LEAVING,
    PROTOCOL,
    REPORT,
    RESOLVE,
    AssignEncoded,
    Beat,
    BeatAnswer,
    Joined,
    Joining,
    Kill,
    Leaving,
    Left,
    Refused,
    Reports,
    Resolve,
    Resolved,
    asked,
    encode,
)

ACKNOWLEDGED_S: Final = 2.0
"""Seconds until an order counts as lost."""
SILENT_S: Final = 2.0
"""Seconds for which a worker that acknowledged nothing is not asked again: who gives orders must
not wait for one that is gone, again and again, while the others need theirs."""
AROUND_BYTES: Final = 256
"""Room for what is around assignments, or reports, in one message."""
KILLS_AT_ONCE: Final = 1000

LifeOf = Callable[[WorkerId], IncarnationId | None]
"""The present life of a worker on another machine; None for other workers."""

log = structlog.get_logger(__name__)


class JoinedTransport:
    """The transport port for workers beside control planes and on other machines alike.

    Args:
        beside: connects workers that live in control planes.
        messages: reaches workers on other machines; None: there are none.
        life_of: which life of which worker is meant by an order.
    """

    def __init__(self, beside: Transport, messages: WorkerMessages | None, life_of: LifeOf) -> None:
        self._beside = beside
        self._messages = messages
        self._life_of = life_of
        self._silent_until: dict[WorkerId, float] = {}
        self._engine: JoinedEngine | None = None
        self._closed = False
        self._more: dict[str, WorkerHandler] = {}
        self._own_words: list[str] = []
        self._answers = {
            JOINED: self._on_joined,
            BEAT: self._on_beat,
            REPORT: self._on_report,
            RESOLVE: self._on_resolve,
            LEAVING: self._on_leaving,
        }

    async def serve(self, engine: EngineEnd) -> None:
        """Begin to take calls of the workers beside control planes."""
        await self._beside.serve(engine)

    def answer(self, what: str, handler: WorkerHandler, *, may_be_own: bool = False) -> None:
        """Have a handler answer what else workers ask for; before :meth:`serve_joined`.

        With ``may_be_own`` also if it is this plane that they ask.
        """
        self._more[what] = handler
        if may_be_own:
            self._own_words.append(what)

    async def serve_joined(self, engine: JoinedEngine) -> None:
        """Begin to take calls of the workers on other machines."""
        if self._closed or self._messages is None:
            raise TransportClosed
        self._engine = engine
        await self._messages.serve_workers(
            self._on_request, (*self._answers, *self._more), self._own_words
        )

    async def connect(self, worker_id: WorkerId, worker: WorkerEnd) -> EngineEnd:
        """Attach a worker beside this plane."""
        return await self._beside.connect(worker_id, worker)

    async def to_worker(self, worker_id: WorkerId) -> WorkerEnd:
        """The other end of a worker. Raises ``WorkerUnreachable`` if it is not connected."""
        life = None if self._messages is None else self._life_of(worker_id)
        if life is None:
            return await self._beside.to_worker(worker_id)
        if self._closed:
            raise TransportClosed
        return _JoinedWorker(self, worker_id, life)

    async def leave(self) -> None:
        """Answer nothing more to workers on other machines; they still get orders."""
        engine, self._engine = self._engine, None
        if engine is not None and self._messages is not None:
            await self._messages.leave_workers()

    async def close(self) -> None:
        """Answer nothing more, and detach all workers."""
        self._closed = True
        await self.leave()
        await self._beside.close()

    @property
    def room_bytes(self) -> int:
        """How much goes into one order."""
        return 0 if self._messages is None else self._messages.room_bytes

    async def tell(
        self, worker_id: WorkerId, life: IncarnationId, what: str, payload: bytes
    ) -> None:
        """Send an order, and return when it is acknowledged.

        Raises:
            WorkerUnreachable: it was not, or the worker does not take it.
            TransportClosed: this transport was closed.
        """
        if self._closed or self._messages is None:
            raise TransportClosed
        if self._life_of(worker_id) != life:
            raise WorkerUnreachable(f"worker {worker_id} has joined again")
        if anyio.current_time() < self._silent_until.get(worker_id, 0.0):
            raise WorkerUnreachable(f"worker {worker_id} did not answer a moment ago")
        try:
            await self._messages.ask_worker(worker_id, what, payload, ACKNOWLEDGED_S)
        except TimedOut as error:
            self._silent_until[worker_id] = anyio.current_time() + SILENT_S
            raise WorkerUnreachable(str(error)) from error
        except TaskyardError as error:
            # Whatever a worker answers, it only concerns that worker.
            raise WorkerUnreachable(str(error)) from error
        self._silent_until.pop(worker_id, None)

    async def _on_request(self, worker_id: WorkerId, what: str, payload: bytes) -> bytes:
        answer, more = self._answers.get(what), self._more.get(what)
        if more is not None and self._engine is not None and not self._closed:
            return await more(worker_id, what, payload)
        if answer is None or self._engine is None or self._closed:
            raise Unreachable(f"{what!r} is not served by this control plane; is it older?")
        return encode(await answer(self._engine, worker_id, payload))

    async def _on_joined(self, engine: JoinedEngine, worker_id: WorkerId, payload: bytes) -> Joined:
        joining = asked(Joining, payload)
        if joining.protocol > PROTOCOL:
            raise InvalidInput(
                "protocol",
                f"this control plane speaks {PROTOCOL} with workers, and not {joining.protocol};"
                " upgrade control planes before workers",
            )
        attempts = await engine.joined(worker_id, joining.hello, joining.lapsed)
        return Joined(attempts, await engine.is_drained(worker_id))

    async def _on_beat(
        self, engine: JoinedEngine, worker_id: WorkerId, payload: bytes
    ) -> BeatAnswer:
        lease = await engine.beat(worker_id, asked(Beat, payload).heartbeat)
        return BeatAnswer(lease is LeaseState.HELD, lease is LeaseState.REPLACED)

    async def _on_report(
        self, engine: JoinedEngine, worker_id: WorkerId, payload: bytes
    ) -> Refused:
        told = asked(Reports, payload)
        return Refused(await engine.report(worker_id, told.reports, told.sent_at))

    async def _on_resolve(
        self, engine: JoinedEngine, worker_id: WorkerId, payload: bytes
    ) -> Resolved:
        return Resolved(await engine.resolve(worker_id, asked(Resolve, payload).attempt))

    async def _on_leaving(self, engine: JoinedEngine, worker_id: WorkerId, payload: bytes) -> Left:
        await engine.leaving(worker_id, asked(Leaving, payload).incarnation)
        return Left()


class _JoinedWorker:
    """One life of a worker on another machine."""

    def __init__(
        self, transport: JoinedTransport, worker_id: WorkerId, life: IncarnationId
    ) -> None:
        self._transport = transport
        self._worker_id = worker_id
        self._life = life

    async def assign(self, assignments: list[Assignment]) -> None:
        for batch in batches(assignments, self._transport.room_bytes - AROUND_BYTES):
            order = encode(AssignEncoded(self._life, batch))
            await self._transport.tell(self._worker_id, self._life, ASSIGN, order)

    async def kill(self, orders: list[KillOrder]) -> None:
        for begin in range(0, len(orders), KILLS_AT_ONCE):
            order = encode(Kill(self._life, orders[begin : begin + KILLS_AT_ONCE]))
            await self._transport.tell(self._worker_id, self._life, KILL, order)
