"""Answers of any length, sent piece by piece as they are read from the store."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any, Final

import anyio
import msgspec
from litestar.types import Receive, Scope, Send

from taskyard.core.access.principals import Caller
from taskyard.dialects.greencloud.errors import JSON
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.streams import WhileValid
from taskyard.ports.clock import Clock

PIECE_BYTES: Final = 64 << 10
"""What is gathered before anything is sent; a shorter answer is sent with its length."""

Pieces = AsyncGenerator[bytes, None]


class PiecewiseAnswer(Answer):
    """An answer whose beginning is there, and whose rest is read while it is sent."""

    __slots__ = ("_guard", "_rest")

    def __init__(self, beginning: bytes, rest: Pieces, header: tuple[bytes, bytes]) -> None:
        super().__init__(200, beginning, (header,))
        self._rest = rest
        self._guard: WhileValid | None = None

    def guard_with(self, clock: Clock, caller: Caller) -> None:
        """Cut it off when the caller's credential ends."""
        self._guard = WhileValid(clock, caller, self._send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until the client goes away."""
        await (self._guard or self._send)(scope, receive, send)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        start = {"type": "http.response.start", "status": self.status, "headers": [*self.headers]}
        await send(start)  # type: ignore[arg-type]  # one of its messages
        async with aclosing(self._rest), anyio.create_task_group() as group:
            group.start_soon(_await_departure, receive, group.cancel_scope)
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            async for piece in self._rest:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            group.cancel_scope.cancel()


async def piecewise(pieces: Pieces, header: tuple[bytes, bytes] = JSON) -> Answer:
    """These pieces as an answer. Raises what reading the first of them raised."""
    beginning = bytearray()
    async for piece in pieces:
        beginning += piece
        if len(beginning) >= PIECE_BYTES:
            return PiecewiseAnswer(bytes(beginning), pieces, header)
    return Answer(200, bytes(beginning), (header,))


async def json_array(pages: AsyncIterable[list[Any]]) -> Pieces:
    """The elements of all pages as one JSON array."""
    mark = b"["
    async for page in pages:
        if page:
            yield mark + msgspec.json.encode(page)[1:-1]
            mark = b","
    yield b"[]" if mark == b"[" else b"]"


async def _await_departure(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel once nobody is there to read: servers drop what is sent then, and say nothing."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            scope.cancel()
            return
