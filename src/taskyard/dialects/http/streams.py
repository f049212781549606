"""The open streams of a server: how many there may be, and ending them all for a shutdown."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from taskyard.core.errors import Overloaded, Unavailable

DEFAULT_LIMIT: Final = 2000


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
    def enter(self) -> Iterator[None]:
        """Run the block as a stream; :meth:`close` ends it early, without an error.

        Raises ``Overloaded`` when there are too many, ``Unavailable`` during a shutdown.
        """
        if self.closing:
            raise Unavailable("the server is stopping")
        if len(self._open) >= self._limit:
            raise Overloaded(f"{self._limit} streams are open already", retry_after_s=5.0)
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            try:
                yield
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
