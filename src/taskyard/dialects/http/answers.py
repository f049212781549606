"""Answers: ready bytes, or pieces that are sent as they come."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final

import msgspec
from litestar.types import Receive, Scope, Send

JSON: Final = (b"content-type", b"application/json")
TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
HTML: Final = (b"content-type", b"text/html; charset=utf-8")
Headers = Iterable[tuple[bytes, bytes]]
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})
_ENCODER: Final = msgspec.json.Encoder()


def is_head(scope: Scope) -> bool:
    """Whether a request wants the headers only."""
    return scope.get("method") == "HEAD"


class Answer:
    """A complete answer; an ASGI application that sends it."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        """Take a status, the body's bytes and headers other than the length."""
        self.status = status
        self.body = body
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        headers = [*self.headers]
        if self.status != 204:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        body = b"" if is_head(scope) else self.body
        await send({"type": "http.response.body", "body": body, "more_body": False})


class StreamedAnswer:
    """An answer of unknown length; an ASGI application that sends it piece by piece."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], headers: Headers) -> None:
        """Take the pieces and the headers, without a length."""
        self._pieces = pieces
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it."""
        async with aclosing(self._pieces) as pieces:
            await send({"type": "http.response.start", "status": 200, "headers": [*self._headers]})
            if not is_head(scope):
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def with_headers(
    send: Send, change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
) -> Send:
    """Sends what it is given, with the headers changed."""

    async def changing(message: Any) -> None:
        if message["type"] in _STARTS:
            message["headers"] = change([*message["headers"]])
        await send(message)

    return changing


def json_answer(document: msgspec.Struct, status: int = 200, headers: Headers = ()) -> Answer:
    """A document as JSON."""
    return Answer(status, _ENCODER.encode(document), (JSON, *headers))


def no_content() -> Answer:
    """204."""
    return Answer(204)
