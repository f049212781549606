"""What a handler answers with: ready bytes, sent without further ado."""

from collections.abc import Iterable
from typing import Final

import msgspec
from litestar.types import Receive, Scope, Send

JSON: Final = b"application/json"
Headers = Iterable[tuple[bytes, bytes]]
_JSON_HEADER: Final = (b"content-type", JSON)
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


def json_answer(document: msgspec.Struct, status: int = 200, headers: Headers = ()) -> Answer:
    """A document as JSON."""
    return Answer(status, _ENCODER.encode(document), (_JSON_HEADER, *headers))


def no_content() -> Answer:
    """Done, with nothing to say: 204."""
    return Answer(204)
