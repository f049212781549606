"""Reads request bodies: never more than is allowed, and never waiting for ever."""

from collections.abc import Iterable
from typing import Final

import anyio
from litestar.types import Receive

from taskyard.dialects.native.errors import Refusal, malformed

STALL_S: Final = 30.0
"""Seconds a client may let pass between two pieces of a body."""


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises :class:`Refusal`: 413 past ``limit`` bytes (before anything is read when the length is
    announced, otherwise once the body has grown past it); 400 when the client goes away or stalls.
    """
    for name, value in headers:
        # The HTTP parser lets only digits pass; more of them than this say enough.
        if name == b"content-length" and (len(value) > 18 or int(value) > limit):
            raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        # Nearly all bodies arrive in one piece: no timer, no copy.
        body: bytes = message["body"]
        if len(body) > limit:
            raise _too_large(limit)
        return body
    gathered = bytearray()
    while message["type"] == "http.request":
        gathered += message["body"]
        if len(gathered) > limit:
            raise _too_large(limit)
        if not message["more_body"]:
            return bytes(gathered)
        with anyio.move_on_after(STALL_S) as scope:
            message = await receive()
        if scope.cancelled_caught:
            raise malformed(f"no more of the body arrived for {STALL_S:g} seconds")
    raise malformed("the client went away before its body was complete")


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body-too-large", f"a body has at most {limit} bytes")
