"""Reads request bodies: never more than is allowed, and never waiting for ever."""

from collections.abc import Iterable
from typing import Final

import anyio
from litestar.types import Receive

from taskyard.core.errors import TaskyardError

STALL_S: Final = 30.0
"""Seconds a client may let pass between two pieces of a body."""


class BodyTooLarge(TaskyardError):
    """The body is larger than is taken here."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"a body has at most {limit} bytes")


class BodyIncomplete(TaskyardError):
    """The client went away, or stalled, before its body was complete."""


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: past ``limit`` bytes; before anything is read when the length is announced,
            otherwise once the body has grown past it.
        BodyIncomplete: the client goes away or stalls.
    """
    for name, value in headers:
        # The HTTP parser lets only digits pass; more of them than this say enough.
        if name == b"content-length" and (len(value) > 18 or int(value) > limit):
            raise BodyTooLarge(limit)
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        # Nearly all bodies arrive in one piece: no timer, no copy.
        body: bytes = message["body"]
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body
    gathered = bytearray()
    while message["type"] == "http.request":
        gathered += message["body"]
        if len(gathered) > limit:
            raise BodyTooLarge(limit)
        if not message["more_body"]:
            return bytes(gathered)
        with anyio.move_on_after(STALL_S) as scope:
            message = await receive()
        if scope.cancelled_caught:
            raise BodyIncomplete(f"no more of the body arrived for {STALL_S:g} seconds")
    raise BodyIncomplete("the client went away before its body was complete")
