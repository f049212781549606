"""The open streams of a server: how many there may be, and what ends them from our side."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from taskyard.core.access import Caller
from taskyard.core.errors import Overloaded, Unavailable
from taskyard.ports.clock import Clock
from taskyard.services.validity import watched

DEFAULT_LIMIT: Final = 2000


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

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
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

        Raises ``Overloaded`` when there are too many, ``Unavailable`` during a shutdown, and
        ``NotAuthenticated`` for a credential that has ended already.
        """
        if self.closing:
            raise Unavailable("the server is stopping")
        if len(self._open) >= self._limit:
            raise Overloaded(f"{self._limit} streams are open already", retry_after_s=5.0)
        with anyio.CancelScope() as scope:
            stream = OpenStream(scope)
            self._open.add(scope)
            try:
                with watched(clock, caller, stream.end_with_credential):
                    yield stream
            finally:
                self._open.discard(scope)
                if not self._open:
                    self._empty.set()

    async def close(self, timeout_s: float = 5.0) -> None:
        """End all streams and wait until they have said goodbye. May be called twice."""
        self.closing = True
        self._empty = anyio.Event()
        for scope in self._open:
            scope.cancel()
        if self._open:
            with anyio.move_on_after(timeout_s):
                await self._empty.wait()
