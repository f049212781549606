"""Control planes in one process that send messages to one another; for tests, with faults."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from taskyard.core.ids import PlaneId
from taskyard.ports.errors import Unreachable
from taskyard.ports.messages import (
    LEADER,
    MOST_BYTES,
    MOST_PUBLISHED_BYTES,
    Handler,
    MessageListener,
)
from taskyard.transport.addresses import late, nobody, plane_address
from taskyard.transport.envelopes import Answer, error_of
from taskyard.transport.handlers import Handlers, check_size


class MessageKind(StrEnum):
    """The three kinds of messages."""

    PUBLISHED = "published"
    REQUEST = "request"
    ANSWER = "answer"


class Message(Struct, frozen=True):
    """One message on its way from one plane to another."""

    kind: MessageKind
    sender: PlaneId
    to: PlaneId
    what: str


Deliveries = Callable[[Message], Sequence[float]]
"""Seconds after which a message is delivered, once for each; none: it is lost."""

_ONCE: Final = (0.0,)


def deliver_once(message: Message) -> Sequence[float]:
    """The deliveries of a network without faults."""
    del message
    return _ONCE


class LocalMessageHub:
    """What carries messages between planes of one process. Made by :func:`local_message_hub`."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.tasks = tasks
        self.deliveries: Deliveries = deliver_once
        """Which faults there are."""
        self.planes: dict[PlaneId, LocalMessages] = {}

    def plane(self, plane_id: PlaneId) -> "LocalMessages":
        """Connect a plane, in place of one that had its id."""
        messages = LocalMessages(self, plane_id)
        self.planes[plane_id] = messages
        return messages

    def receivers(self, to: PlaneId) -> list["LocalMessages"]:
        """Who takes requests to this plane."""
        found = self.planes.values()
        return [
            one
            for one in found
            if one.is_connected and (one.is_leading if to == LEADER else one.plane_id == to)
        ]


@asynccontextmanager
async def local_message_hub() -> AsyncIterator[LocalMessageHub]:
    """A hub; what is under way when it is left is lost."""
    async with anyio.create_task_group() as tasks:
        yield LocalMessageHub(tasks)
        tasks.cancel_scope.cancel()


class LocalMessages:
    """The message port within one process."""

    def __init__(self, hub: LocalMessageHub, plane_id: PlaneId) -> None:
        self._hub = hub
        self._plane_id = plane_id
        self._handlers = Handlers()
        self._leading = 0
        self.is_cut = False
        """Whether this plane is cut off from all others."""

    @property
    def plane_id(self) -> PlaneId:
        """This plane."""
        return self._plane_id

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return not self.is_cut

    @property
    def is_leading(self) -> bool:
        """Whether it takes requests to the leader."""
        return self._leading > 0

    def publish(self, what: str, payload: bytes) -> None:
        """Tell all other planes. Raises ``PayloadTooLarge``."""
        check_size(payload, MOST_PUBLISHED_BYTES)
        if self.is_cut:
            return
        for one in list(self._hub.planes.values()):
            if one is not self:
                message = Message(MessageKind.PUBLISHED, self._plane_id, one.plane_id, what)
                for delay_s in self._hub.deliveries(message):
                    self._hub.tasks.start_soon(one.take, what, payload, delay_s)

    def listen(self, what: str, listener: MessageListener) -> None:
        """Have a listener take what other planes publish under this word."""
        self._handlers.listen(what, listener)

    async def request(self, to: PlaneId, what: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask a plane. Raises as the port says."""
        check_size(payload, MOST_BYTES)
        if self.is_cut:
            raise Unreachable("this control plane is cut off from the others")
        receivers = self._hub.receivers(to)
        if not receivers:
            raise nobody(plane_address(to))
        answers: list[Answer] = []
        answered = anyio.Event()

        def settle(answer: Answer) -> None:
            if not self.is_cut:
                answers.append(answer)
                answered.set()

        for one in receivers:
            message = Message(MessageKind.REQUEST, self._plane_id, one.plane_id, what)
            for delay_s in self._hub.deliveries(message):
                self._hub.tasks.start_soon(one.answer, message, payload, timeout_s, delay_s, settle)
        with anyio.move_on_after(timeout_s):
            await answered.wait()
        if not answers:
            raise late(plane_address(to), what, timeout_s)
        if answers[0].failure is not None:
            raise error_of(answers[0].failure)
        assert isinstance(answers[0].payload, bytes)  # noqa: S101 - nothing is sent in parts here
        return answers[0].payload

    def serve(self, what: str, handler: Handler) -> None:
        """Have a handler answer requests."""
        self._handlers.serve(what, handler)

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Take requests to the leader while inside."""
        self._leading += 1
        try:
            yield
        finally:
            self._leading -= 1

    async def take(self, what: str, payload: bytes, delay_s: float) -> None:
        """A published message arrives after a while."""
        await anyio.sleep(delay_s)
        if not self.is_cut:
            self._handlers.publish(what, payload)

    async def answer(
        self,
        message: Message,
        payload: bytes,
        timeout_s: float,
        delay_s: float,
        settle: Callable[[Answer], None],
    ) -> None:
        """A request arrives after a while; so does its answer."""
        await anyio.sleep(delay_s)
        if self.is_cut:
            return
        answer = await self._handlers.answer(message.what, payload, timeout_s)
        if answer is None or self.is_cut:
            return
        back = Message(MessageKind.ANSWER, self._plane_id, message.sender, message.what)
        for back_s in self._hub.deliveries(back):
            self._hub.tasks.start_soon(_settle_later, settle, answer, back_s)


async def _settle_later(settle: Callable[[Answer], None], answer: Answer, delay_s: float) -> None:
    await anyio.sleep(delay_s)
    settle(answer)
