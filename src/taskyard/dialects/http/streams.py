"""Live streams and waiting requests: limits for all and for each workspace, and their end.

Streams are ended by a shutdown and by the end of their caller's credential.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.core.access.principals import Caller
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.dialects.http.shares import DEFAULT_PERCENT, Shares
from taskyard.ports.clock import Clock
from taskyard.services.access.credential_lifetime import watched
from taskyard.services.access.login_throttle import source_of

_DEPARTURES: Final = frozenset({"http.disconnect", "websocket.disconnect"})
DEFAULT_LIMIT: Final = 2000
DEFAULT_WAITS: Final = 4000


class OpenStream:
    """One stream while it is open."""

    __slots__ = ("credential_ended", "scope")

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.credential_ended = False
        """Whether it was ended because its reader may not read any more."""

    def end_with_credential(self) -> None:
        """Its reader's credential has ended."""
        self.credential_ended = True
        self.scope.cancel()


class Streams:
    """Keeps the live streams (server-sent events and WebSockets) of one server."""

    def __init__(
        self,
        limit: int = DEFAULT_LIMIT,
        waits: int = DEFAULT_WAITS,
        percent: int = DEFAULT_PERCENT,
    ) -> None:
        """So many streams and waiting requests, ``percent`` of either for one workspace."""
        self._limit = limit
        self._shares = Shares("live streams", limit, percent)
        self._waits = Shares("requests that wait", waits, percent)
        self._open: set[anyio.CancelScope] = set()
        self._empty = anyio.Event()
        self.closing = False
        """Whether :meth:`close` was called: streams then say that the server goes away."""

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def enter(self, clock: Clock, caller: Caller) -> Iterator[OpenStream]:
        """Run the block as the caller's stream; it is ended early, without an error, by
        :meth:`close` and by the end of the caller's credential.

        Raises ``Overloaded`` when there are too many in all or of this caller's workspace,
        ``Unavailable`` during a shutdown, and
        ``NotAuthenticated`` for a credential that has ended already.
        """
        if self.closing:
            raise Unavailable("the server is stopping")
        if len(self._open) >= self._limit:
            raise Overloaded(
                f"the limit of {self._limit} open streams is reached; try again later",
                retry_after_s=5.0,
            )
        who = _holder(caller)
        self._shares.take(who)
        with anyio.CancelScope() as scope:
            stream = OpenStream(scope)
            self._open.add(scope)
            try:
                with watched(clock, caller, stream.end_with_credential):
                    yield stream
            finally:
                self._shares.give_back(who)
                self._open.discard(scope)
                if not self._open:
                    self._empty.set()

    @contextmanager
    def waiting(self, caller: Caller) -> Iterator[None]:
        """Run the block as a request of the caller's that waits.

        Raises ``Overloaded`` when the caller's workspace has too many, ``Busy`` when all together
        have.
        """
        who = _holder(caller)
        self._waits.take(who)
        try:
            yield
        finally:
            self._waits.give_back(who)

    async def close(self, timeout_s: float = 5.0) -> None:
        """End all streams and wait until they have said goodbye. May be called twice."""
        self.closing = True
        self._empty = anyio.Event()
        for scope in self._open:
            scope.cancel()
        if self._open:
            with anyio.move_on_after(timeout_s):
                await self._empty.wait()


class WhileValid:
    """An answer that is cut off when the caller's credential ends; an ASGI application."""

    def __init__(self, clock: Clock, caller: Caller, answer: ASGIApp) -> None:
        self._clock = clock
        self._caller = caller
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises ``ConnectionAbortedError`` when cut off: a part is not the whole."""
        with (
            anyio.CancelScope() as cancelled,
            watched(self._clock, self._caller, cancelled.cancel),
        ):
            return await self._answer(scope, receive, send)
        raise ConnectionAbortedError("the credential ended while the answer was sent")


async def while_present(
    receive: Callable[[], Awaitable[Any]], work: Callable[[], Awaitable[None]]
) -> bool:
    """Do this until it is done or the peer has left; whether the peer stayed.

    What else the peer sends is ignored. Raises what ``work`` raises while the peer is there.
    """
    stayed = True
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal stayed
            while (await receive())["type"] not in _DEPARTURES:
                pass
            stayed = False
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised below, outside the group that wraps it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None and stayed:
        raise failure
    return stayed


def _holder(caller: Caller) -> Hashable:
    """Whose share it counts for: the workspace's, or the address's where there is none."""
    if caller.is_of_installation:
        return ("address", source_of(caller.address))
    return caller.workspace
