"""Requests over core NATS: made by whoever has an address, and answered at it."""

import itertools
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup

from taskyard.core.errors import Overloaded, TaskyardError
from taskyard.ports.errors import TimedOut, Unreachable
from taskyard.ports.messages import MOST_BYTES, Handler
from taskyard.transport.addresses import Address, late, nobody
from taskyard.transport.envelopes import (
    ANSWERS,
    REQUESTS,
    Answer,
    Bytes,
    Request,
    encode,
    error_of,
    failure_of,
)
from taskyard.transport.handlers import Handlers, check_size
from taskyard.transport.nats.connection import FIRST_S, NatsConnection
from taskyard.transport.nats.large_payloads import LargePayloads, fits
from taskyard.transport.nats.options import check_token

MOST_S: Final = 60.0
"""Longest time for which anything is done for a request, whatever its sender says."""

Handle = Callable[[str, bytes | Bytes, float], Awaitable[Answer | None]]
"""Answers a request: its subject, its payload, and for how many seconds its sender waits."""

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


class NatsRequests:
    """Asks others, and answers at its own address.

    Args:
        connection: to NATS; is told to begin by :meth:`open`.
        installation: keeps installations on one NATS apart; letters, digits, ``_`` and ``-``.
        own: where others reach this one; its last part has the same characters.

    Raises:
        InvalidInput: one of the names has other characters.
    """

    def __init__(self, connection: NatsConnection, installation: str, own: Address) -> None:
        self.connection = connection
        self.root: Final = f"taskyard.{check_token('installation', installation)}"
        check_token("address", own.rpartition(".")[2])
        self.own: Final = own
        self._tasks: TaskGroup | None = None
        self._has_begun = anyio.Event()
        self._handlers = Handlers()
        self.large: Final = LargePayloads(own, self.ask, lambda: connection.most_bytes)
        self._handlers.serve(LargePayloads.WHAT, self.large.serve)
        self._waiting: dict[str, _Waiting] = {}
        # So that an answer to an earlier life at this address is nobody's.
        self._life = secrets.token_hex(4)
        self._numbers = itertools.count()
        self.requests: Counter[tuple[str, str]] = Counter()
        """Requests made so far, by what for and what became of them."""
        connection.on_lost = self._lost

    async def open(self, within_s: float | None = FIRST_S) -> None:
        """Connect, and take messages. Raises as ``NatsConnection.first``."""
        await self.connection.subscribe(f"{self.root}.{self.own}.*", self.on_request)
        await self.connection.subscribe(f"{self.root}.{self.own}.answers.*", self._on_answer)
        await self.connection.first(within_s)

    def begin(self, tasks: TaskGroup) -> None:
        """Answer requests, in these tasks."""
        self._tasks = tasks
        self._has_begun.set()

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests."""
        check_token("what", what)
        self._handlers.serve(what, handler)

    async def ask(self, to: Address, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask whoever has an address. Raises as ``ports.messages.Messages.request``."""
        outcome = "failed"
        try:
            answer = await self._ask(to, what, payload, timeout_s)
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

    async def _ask(self, to: Address, what: str, payload: bytes, timeout_s: float) -> bytes:
        check_size(payload, MOST_BYTES)
        key = f"{self._life}{next(self._numbers)}"
        waiting = self._waiting[key] = _Waiting()
        try:
            with anyio.move_on_after(timeout_s), self.large.offered(payload) as offered:
                await self.connection.send(
                    f"{self.root}.{to}.{what}",
                    encode(Request(timeout_s, offered)),
                    f"{self.root}.{self.own}.answers.{key}",
                )
                await waiting.event.wait()
                return await self._payload(waiting.answer, to)
        finally:
            del self._waiting[key]
        raise late(to, what, timeout_s)

    async def _payload(self, answer: Answer | Unreachable | None, to: Address) -> bytes:
        if isinstance(answer, Unreachable):
            raise nobody(to)
        assert answer is not None  # noqa: S101 - set before its event
        if answer.failure is not None:
            raise error_of(answer.failure)
        return await self.large.take(answer.payload or b"", to)

    async def on_request(self, message: Any) -> None:
        """Take a request, and answer it meanwhile."""
        await self.take(message, self._handled)

    async def take(self, message: Any, handle: Handle) -> None:
        """Have a request answered by this, in a task of its own."""
        try:
            request = REQUESTS.decode(message.data)
        except msgspec.DecodeError as error:
            log.warning("message_unreadable", subject=message.subject, reason=str(error))
            return
        await self._has_begun.wait()
        if self._tasks is not None:
            self._tasks.start_soon(self._answer, message.subject, request, message.reply, handle)

    async def _answer(self, subject: str, request: Request, reply: str, handle: Handle) -> None:
        timeout_s = min(request.timeout_s, MOST_S)
        answer = await handle(subject, request.payload, timeout_s)
        if answer is None or not reply:
            return
        try:
            await self._reply(reply, answer, timeout_s)
        except Unreachable:
            return  # as if the answer had been lost

    async def _handled(
        self, subject: str, payload: bytes | Bytes, timeout_s: float
    ) -> Answer | None:
        what = subject.rpartition(".")[2]
        if isinstance(payload, Bytes):
            # Everything that is not small comes from planes: others may ask for pieces only.
            try:
                with anyio.fail_after(timeout_s):
                    payload = await self.large.take(payload, Address("plane"))
            except TaskyardError as error:
                return Answer(None, failure_of(error))
            except TimeoutError:
                return None
        return await self._handlers.answer(what, payload, timeout_s)

    async def _reply(self, reply: str, answer: Answer, timeout_s: float) -> None:
        payload = answer.payload
        if not isinstance(payload, bytes) or fits(payload, self.connection.most_bytes):
            await self.connection.send(reply, encode(answer))
            return
        try:
            kept = self.large.keep(payload)
        except Overloaded as error:
            await self.connection.send(reply, encode(Answer(None, failure_of(error))))
            return
        try:
            await self.connection.send(reply, encode(Answer(kept)))
            # After that time the requester has all of it or has given up.
            await anyio.sleep(timeout_s)
        finally:
            self.large.forget(kept)

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

    def _lost(self) -> None:
        for waiting in list(self._waiting.values()):
            waiting.settle(Unreachable())
