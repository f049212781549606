"""Reads request bodies: never more than is allowed, and never waiting forever.

A body that does not arrive at once counts until its request is answered: for all callers together
there is a limit, and a share of it for each workspace, or for an address where there is none. What
is there as a whole when it is asked for is not counted; listeners buffer no more than 64 KiB of it.
"""

from collections.abc import Hashable
from typing import Any, Final

import anyio
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.core.access.principals import INSTALLATION
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.http.requests import address_of
from taskyard.dialects.http.shares import Shares
from taskyard.services.access.login_throttle import source_of

STALL_S: Final = 30.0
"""Seconds a client may let pass between two pieces of a body."""
BODIES_BYTES: Final = 256 << 20
_KEY: Final = "bodies"


class BodyTooLarge(TaskyardError):
    """The body is larger than is taken here."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"a body has at most {limit} bytes")


class BodyIncomplete(TaskyardError):
    """The client went away, or stalled, before its body was complete."""


class Bodies:
    """Counts the bodies of all requests under way."""

    def __init__(self, shares: Shares | None = None) -> None:
        self.shares = shares or Shares("bytes of request bodies", BODIES_BYTES)

    def counted(self, app: ASGIApp) -> ASGIApp:
        """The application; each request holds the bytes of its body until it is answered."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            held = scope["state"][_KEY] = _Held(self.shares)
            try:
                await app(scope, receive, send)
            finally:
                held.give_back()

        return serve


class _Held:
    """The share of one request."""

    __slots__ = ("_count", "_shares", "who")

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._count = 0
        self.who: Hashable = None

    def expect(self, count: int) -> None:
        self._shares.check(self.who, count)

    def take(self, count: int) -> None:
        self._shares.take(self.who, count)
        self._count += count

    def give_back(self) -> None:
        if self._count:
            self._shares.give_back(self.who, self._count)
            self._count = 0


async def read_body(
    scope: Scope, receive: Receive, limit: int, workspace: WorkspaceName | None = None
) -> bytes:
    """The whole body, counted for a workspace, or for the client's address if there is none.

    Raises:
        BodyTooLarge: past ``limit`` bytes; before anything is read when the length is announced,
            otherwise once the body has grown past it.
        BodyIncomplete: the client goes away or stalls.
        Overloaded: the bodies of this workspace take as much as they may.
        Busy: those of all callers together do.
    """
    announced = 0
    for name, value in scope["headers"]:
        # The HTTP parser lets only digits pass; more of them than this say enough.
        if name == b"content-length":
            if len(value) > 18 or int(value) > limit:
                raise BodyTooLarge(limit)
            announced = int(value)
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        # Nearly all bodies arrive in one piece: no timer, no copy.
        body: bytes = message["body"]
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body
    held = _held(scope, workspace)
    held.expect(announced)
    gathered = bytearray()
    while message["type"] == "http.request":
        held.take(len(message["body"]))
        gathered += message["body"]
        if len(gathered) > limit:
            raise BodyTooLarge(limit)
        if not message["more_body"]:
            return bytes(gathered)
        with anyio.move_on_after(STALL_S) as stalled:
            message = await receive()
        if stalled.cancelled_caught:
            raise BodyIncomplete(f"no more of the body arrived for {STALL_S:g} seconds")
    raise BodyIncomplete("the client went away before its body was complete")


def _held(scope: Scope, workspace: WorkspaceName | None) -> _Held:
    state: dict[str, Any] = scope["state"]
    held: _Held = state.get(_KEY) or _Held(_UNCOUNTED)
    if workspace is None or workspace == INSTALLATION:
        held.who = ("address", source_of(address_of(scope)))
    else:
        held.who = workspace
    return held


_UNCOUNTED: Final = Shares("bytes of request bodies", 1 << 62, 100)
"""For applications outside of :meth:`Bodies.counted`."""
