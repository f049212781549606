"""Streams answers of any length as they are read from the store."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.http.answers import JSON, Answer
from taskyard.dialects.http.streams import WhileValid, while_present

PIECE_BYTES: Final = 64 << 10
"""What is gathered before anything is sent; a shorter answer is sent with its length."""

Pieces = AsyncGenerator[bytes, None]


class _Streamed:
    """An answer whose beginning is there, and whose rest is read while it is sent."""

    def __init__(self, beginning: bytes, rest: Pieces, header: tuple[bytes, bytes]) -> None:
        self._beginning = beginning
        self._rest = rest
        self._header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it, until the client goes away."""
        await send({"type": "http.response.start", "status": 200, "headers": [self._header]})
        async with aclosing(self._rest):
            # Servers drop what is sent to a client that has left, and say nothing.
            await while_present(receive, lambda: self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self._beginning, "more_body": True})
        async for piece in self._rest:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def streamed(call: Call, pieces: Pieces, header: tuple[bytes, bytes] = JSON) -> ASGIApp:
    """These pieces as an answer, cut off when the caller's credential ends.

    Raises what reading the first of them raised.
    """
    beginning = bytearray()
    async for piece in pieces:
        beginning += piece
        if len(beginning) >= PIECE_BYTES:
            rest = _Streamed(bytes(beginning), pieces, header)
            return WhileValid(call.engine.clock, call.caller, rest)
    return Answer(200, bytes(beginning), (header,))


async def json_array(pages: AsyncIterable[list[Any]]) -> Pieces:
    """The elements of all pages as one JSON array."""
    mark = b"["
    async for page in pages:
        if page:
            yield mark + msgspec.json.encode(page)[1:-1]
            mark = b","
    yield b"[]" if mark == b"[" else b"]"
