"""The message port over core NATS: what control planes say to one another, and to workers."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.abc
import msgspec
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from taskyard.core.errors import Overloaded
from taskyard.core.ids import PlaneId, WorkerId
from taskyard.ports.errors import Unreachable
from taskyard.ports.messages import (
    MOST_PUBLISHED_BYTES,
    Handler,
    MessageListener,
    WorkerHandler,
)
from taskyard.transport.addresses import plane_address, worker_address
from taskyard.transport.envelopes import (
    PUBLISHED,
    Answer,
    Bytes,
    Published,
    encode,
    failure_of,
)
from taskyard.transport.handlers import RETRY_AFTER_S, Handlers, answer_of, check_size
from taskyard.transport.nats.connection import NatsConnection, nats_connection
from taskyard.transport.nats.large_payloads import ENVELOPE_BYTES
from taskyard.transport.nats.options import NatsOptions, check_token
from taskyard.transport.nats.requests import NatsRequests

WAITING: Final = 1000
"""Published messages that may wait to be sent; more are lost."""
PLANES: Final = "planes"
"""The queue group that takes what workers ask for."""
OF_WORKER_AT_ONCE: Final = 32
"""Requests of one worker that a plane handles at once; more are refused."""
FROM_WORKER_BYTES: Final = 16 << 20
"""Largest payload of a worker's request."""
FETCHED_AT_ONCE: Final = 4
"""Payloads of workers that do not fit into a message and are fetched at the same time."""

log = structlog.get_logger(__name__)


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
        check_token("plane_id", plane_id)
        self._plane_id = plane_id
        self._asking = NatsRequests(connection, installation, plane_address(plane_id))
        self._root = self._asking.root
        self._outgoing = outgoing
        self._published = Handlers()
        self._leading = 0
        self._of_workers: WorkerHandler | None = None
        self._words_of_workers: list[str] = []
        """Subjects of what they are answered."""
        self._under_way: Counter[WorkerId] = Counter()
        self._fetching = anyio.Semaphore(FETCHED_AT_ONCE)

    @property
    def plane_id(self) -> PlaneId:
        """This plane."""
        return self._plane_id

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """Requests made so far, by what for and what became of them."""
        return self._asking.requests

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

    @property
    def room_bytes(self) -> int:
        """Largest payload that fits into one message."""
        return self.connection.most_bytes - ENVELOPE_BYTES

    async def open(self) -> None:
        """Connect, and take messages. Raises ``NatsUnavailable``."""
        await self.connection.subscribe(f"{self._root}.*", self._on_published)
        await self._asking.open()

    def begin(self, tasks: anyio.abc.TaskGroup) -> None:
        """Answer requests, in these tasks."""
        self._asking.begin(tasks)

    def publish(self, what: str, payload: bytes) -> None:
        """Tell all other planes. Raises ``PayloadTooLarge``."""
        check_size(payload, min(MOST_PUBLISHED_BYTES, self.room_bytes))
        if self.is_connected:
            try:
                self._outgoing.send_nowait(
                    (f"{self._root}.{what}", encode(Published(self._plane_id, payload)))
                )
            except anyio.WouldBlock:
                self.connection.count_dropped("more are published than can be sent")

    def listen(self, what: str, listener: MessageListener) -> None:
        """Have a listener take what other planes publish under this word."""
        self._published.listen(what, listener)

    async def request(self, to: PlaneId, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask a plane. Raises as the port says."""
        return await self._asking.ask(plane_address(to), what, payload, timeout_s)

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests."""
        self._asking.serve(what, handler)

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Take requests to the leader while inside."""
        subject = f"{self._root}.leader.*"
        self._leading += 1
        try:
            if self._leading == 1:
                await self.connection.subscribe(subject, self._asking.on_request)
            yield
        finally:
            self._leading -= 1
            if not self._leading:
                with anyio.CancelScope(shield=True):
                    await self._unsubscribe(subject)

    async def ask_worker(
        self, worker_id: WorkerId, what: str, payload: bytes, timeout_s: float
    ) -> bytes:
        """Ask a worker. Raises as the port says."""
        return await self._asking.ask(worker_address(worker_id), what, payload, timeout_s)

    async def serve_workers(
        self, handler: WorkerHandler, words: Sequence[str], own_words: Sequence[str] = ()
    ) -> None:
        """Have a handler answer the requests of workers that reach this plane."""
        self._of_workers = handler
        for word in words:
            await self._take_of_workers(word, PLANES)
        for word in own_words:
            await self._take_of_workers(f"{word}-{self._plane_id}", "")

    async def _take_of_workers(self, word: str, queue: str) -> None:
        subject = f"{self._root}.engine.*.{check_token('what', word)}"
        self._words_of_workers.append(subject)
        await self.connection.subscribe(subject, self._on_worker, queue)

    async def leave_workers(self) -> None:
        """Answer no more requests of workers: other planes do."""
        subjects, self._words_of_workers = self._words_of_workers, []
        for subject in subjects:
            await self._unsubscribe(subject)

    async def _unsubscribe(self, subject: str) -> None:
        try:
            await self.connection.unsubscribe(subject)
        except Unreachable:
            return  # then nothing arrives either

    async def _on_worker(self, message: Any) -> None:
        await self._asking.take(message, self._handled)

    async def _handled(
        self, subject: str, payload: bytes | Bytes, timeout_s: float
    ) -> Answer | None:
        """The worker is who the subject says, which NATS sees to; payloads may say anything."""
        worker_id = WorkerId(subject.split(".")[-2])
        what = subject.rpartition(".")[2].removesuffix(f"-{self._plane_id}")
        if self._under_way[worker_id] >= OF_WORKER_AT_ONCE:
            text = f"too many requests of worker {worker_id} are handled already"
            return Answer(None, failure_of(Overloaded(text, RETRY_AFTER_S)))
        self._under_way[worker_id] += 1
        try:
            return await answer_of(what, lambda: self._handle(worker_id, what, payload), timeout_s)
        finally:
            self._under_way[worker_id] -= 1
            if not self._under_way[worker_id]:
                del self._under_way[worker_id]

    async def _handle(self, worker_id: WorkerId, what: str, payload: bytes | Bytes) -> bytes:
        if self._of_workers is None:
            raise Unreachable("this control plane takes no requests of workers now")
        if isinstance(payload, Bytes):
            async with self._fetching:
                sender = worker_address(worker_id)
                payload = await self._asking.large.take(payload, sender, FROM_WORKER_BYTES)
                return await self._of_workers(worker_id, what, payload)
        return await self._of_workers(worker_id, what, payload)

    async def _on_published(self, message: Any) -> None:
        try:
            published = PUBLISHED.decode(message.data)
        except msgspec.DecodeError as error:
            log.warning("message_unreadable", subject=message.subject, reason=str(error))
            return
        if published.sender != self._plane_id:
            self._published.publish(message.subject.rpartition(".")[2], published.payload)


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
