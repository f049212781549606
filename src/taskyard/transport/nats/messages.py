"""The message port over core NATS."""

import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from taskyard.core.errors import Overloaded, TaskyardError
from taskyard.core.ids import PlaneId
from taskyard.ports.errors import TimedOut, Unreachable
from taskyard.ports.messages import (
    LEADER,
    MOST_BYTES,
    MOST_PUBLISHED_BYTES,
    Handler,
    MessageListener,
)
from taskyard.transport.envelopes import (
    ANSWERS,
    PUBLISHED,
    REQUESTS,
    Answer,
    Bytes,
    Published,
    Request,
    encode,
    error_of,
    failure_of,
)
from taskyard.transport.handlers import Handlers, check_size
from taskyard.transport.missing import late, nobody
from taskyard.transport.nats.connection import NatsConnection, nats_connection
from taskyard.transport.nats.large_payloads import ENVELOPE_BYTES, LargePayloads, fits
from taskyard.transport.nats.options import NatsOptions, check_token

WAITING: Final = 1000
"""Published messages that may wait to be sent; more are lost."""

log = structlog.get_logger(__name__)


class _Waiting:
    """A request whose answer is waited for."""

    __slots__ = ("answer", "event")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.answer: Answer | Unreachable | None = None

    def settle(self, answer: Answer | Unreachable) -> None:
        if self.answer is None:
            self.answer = answer
            self.event.set()


class NatsMessages:
    """The message port over core NATS. Made by :func:`nats_messages`."""

    def __init__(
        self,
        connection: NatsConnection,
        installation: str,
        plane_id: PlaneId,
        outgoing: MemoryObjectSendStream[tuple[str, bytes]],
    ) -> None:
        self.connection = connection
        self._root = f"taskyard.{check_token('installation', installation)}"
        self._plane_id = plane_id
        self._own = f"{self._root}.plane.{check_token('plane_id', plane_id)}"
        self._tasks: TaskGroup | None = None
        self._has_begun = anyio.Event()
        self._outgoing = outgoing
        self._handlers = Handlers()
        self._large = LargePayloads(plane_id, self.request, lambda: connection.most_bytes)
        self._handlers.serve(LargePayloads.WHAT, self._large.serve)
        self._waiting: dict[str, _Waiting] = {}
        # So that an answer to an earlier life of this plane is nobody's.
        self._life = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._leading = 0
        self.requests: Counter[tuple[str, str]] = Counter()
        """Requests made so far, by what for and what became of them."""
        connection.on_lost = self._lost

    @property
    def plane_id(self) -> PlaneId:
        """This plane."""
        return self._plane_id

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self.connection.is_connected

    @property
    def connects(self) -> int:
        """Connections made so far."""
        return self.connection.connects

    @property
    def dropped(self) -> int:
        """Messages lost here because more came than could be handled or sent."""
        return self.connection.dropped

    async def open(self) -> None:
        """Connect, and take messages. Raises ``NatsUnavailable``."""
        await self.connection.subscribe(f"{self._own}.*", self._on_request)
        await self.connection.subscribe(f"{self._own}.answers.*", self._on_answer)
        await self.connection.subscribe(f"{self._root}.*", self._on_published)
        await self.connection.first()

    def begin(self, tasks: TaskGroup) -> None:
        """Answer requests, in these tasks."""
        self._tasks = tasks
        self._has_begun.set()

    def publish(self, what: str, payload: bytes) -> None:
        """Tell all other planes. Raises ``PayloadTooLarge``."""
        check_size(payload, min(MOST_PUBLISHED_BYTES, self.connection.most_bytes - ENVELOPE_BYTES))
        if self.is_connected:
            try:
                self._outgoing.send_nowait(
                    (f"{self._root}.{what}", encode(Published(self._plane_id, payload)))
                )
            except anyio.WouldBlock:
                self.connection.count_dropped("more are published than can be sent")

    def listen(self, what: str, listener: MessageListener) -> None:
        """Have a listener take what other planes publish under this word."""
        self._handlers.listen(what, listener)

    async def request(self, to: PlaneId, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask a plane. Raises as the port says."""
        outcome = "failed"
        try:
            answer = await self._request(to, what, payload, timeout_s)
            outcome = "answered"
        except Unreachable:
            outcome = "unreachable"
            raise
        except TimedOut:
            outcome = "timed_out"
            raise
        finally:
            self.requests[what, outcome] += 1
        return answer

    async def _request(self, to: PlaneId, what: str, payload: bytes, timeout_s: float) -> bytes:
        check_size(payload, MOST_BYTES)
        subject = f"{self._root}.leader" if to == LEADER else f"{self._root}.plane.{to}"
        key = f"{self._life}{next(self._numbers)}"
        waiting = self._waiting[key] = _Waiting()
        try:
            with anyio.move_on_after(timeout_s), self._large.offered(payload) as offered:
                await self.connection.send(
                    f"{subject}.{what}",
                    encode(Request(what, timeout_s, offered)),
                    f"{self._own}.answers.{key}",
                )
                await waiting.event.wait()
                return await self._payload(waiting.answer, to)
        finally:
            del self._waiting[key]
        raise late(to, what, timeout_s)

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests."""
        check_token("what", what)
        self._handlers.serve(what, handler)

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Take requests to the leader while inside."""
        self._leading += 1
        try:
            if self._leading == 1:
                await self.connection.subscribe(f"{self._root}.leader.*", self._on_request)
            yield
        finally:
            self._leading -= 1
            if not self._leading:
                with anyio.CancelScope(shield=True):
                    await self._stop_leading()

    async def _stop_leading(self) -> None:
        try:
            await self.connection.unsubscribe(f"{self._root}.leader.*")
        except Unreachable:
            return  # then nothing arrives either

    async def _payload(self, answer: Answer | Unreachable | None, to: PlaneId) -> bytes:
        if isinstance(answer, Unreachable):
            raise nobody(to)
        assert answer is not None  # noqa: S101 - set before its event
        if answer.failure is not None:
            raise error_of(answer.failure)
        return await self._large.take(answer.payload or b"")

    async def _on_request(self, message: Any) -> None:
        try:
            request = REQUESTS.decode(message.data)
        except msgspec.DecodeError as error:
            log.warning("message_unreadable", subject=message.subject, reason=str(error))
            return
        await self._has_begun.wait()
        if self._tasks is not None:
            self._tasks.start_soon(self._answer, request, message.reply)

    async def _answer(self, request: Request, reply: str) -> None:
        answer = await self._handled(request)
        if answer is None or not reply:
            return
        try:
            await self._reply(reply, answer, request.timeout_s)
        except Unreachable:
            return  # as if the answer had been lost

    async def _handled(self, request: Request) -> Answer | None:
        payload = request.payload
        if isinstance(payload, Bytes):
            try:
                with anyio.fail_after(request.timeout_s):
                    payload = await self._large.take(payload)
            except TaskyardError as error:
                return Answer(None, failure_of(error))
            except TimeoutError:
                return None
        return await self._handlers.answer(request.what, payload, request.timeout_s)

    async def _reply(self, reply: str, answer: Answer, timeout_s: float) -> None:
        payload = answer.payload
        if not isinstance(payload, bytes) or fits(payload, self.connection.most_bytes):
            await self.connection.send(reply, encode(answer))
            return
        try:
            kept = self._large.keep(payload)
        except Overloaded as error:
            await self.connection.send(reply, encode(Answer(None, failure_of(error))))
            return
        try:
            await self.connection.send(reply, encode(Answer(kept)))
            # After that time the requester has all of it or has given up.
            await anyio.sleep(timeout_s)
        finally:
            self._large.forget(kept)

    async def _on_answer(self, message: Any) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None:
            return
        if message.headers and message.headers.get("Status") == "503":
            waiting.settle(Unreachable())
            return
        try:
            waiting.settle(ANSWERS.decode(message.data))
        except msgspec.DecodeError as error:
            log.warning("message_unreadable", subject=message.subject, reason=str(error))

    async def _on_published(self, message: Any) -> None:
        try:
            published = PUBLISHED.decode(message.data)
        except msgspec.DecodeError as error:
            log.warning("message_unreadable", subject=message.subject, reason=str(error))
            return
        if published.sender != self._plane_id:
            self._handlers.publish(message.subject.rpartition(".")[2], published.payload)

    def _lost(self) -> None:
        for waiting in list(self._waiting.values()):
            waiting.settle(Unreachable())


@asynccontextmanager
async def nats_messages(
    options: NatsOptions, installation: str, plane_id: PlaneId
) -> AsyncIterator[NatsMessages]:
    """Connect a plane to the others of its installation; what is under way at the end is lost.

    Args:
        options: where NATS is, and how to get in.
        installation: keeps installations on one NATS apart; letters, digits, ``_`` and ``-``.
        plane_id: the plane; the same characters.

    Raises:
        InvalidInput: one of the names has other characters.
        NatsUnavailable: there is no way to connect; tells why.
    """
    outgoing, sent = anyio.create_memory_object_stream[tuple[str, bytes]](WAITING)
    async with (
        outgoing,
        sent,
        nats_connection(options, f"taskyard {plane_id}") as connection,
    ):
        messages = NatsMessages(connection, installation, plane_id, outgoing)
        await messages.open()
        async with anyio.create_task_group() as tasks:
            messages.begin(tasks)
            tasks.start_soon(connection.stay_connected)
            tasks.start_soon(_send_published, connection, sent)
            try:
                yield messages
            finally:
                tasks.cancel_scope.cancel()


async def _send_published(
    connection: NatsConnection, waiting: MemoryObjectReceiveStream[tuple[str, bytes]]
) -> None:
    async for subject, payload in waiting:
        try:
            await connection.send(subject, payload)
        except Unreachable:
            continue  # readers look again by themselves
