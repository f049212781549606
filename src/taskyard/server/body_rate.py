"""How fast the body of a request has to arrive, so that single bytes do not hold a connection."""

import asyncio
from collections.abc import Callable
from typing import Final

BODY_GRACE_S: Final = 30.0
"""Seconds before a body has to have arrived at any rate, and between two checks of that."""
BODY_BYTES_PER_S: Final = 16 << 10
"""How fast bodies have to arrive from then on, on average."""


class BodyRate:
    """Watches the body that a connection is waiting for.

    Args:
        loop: the connection's.
        is_awaited: whether more of the body has to come.
        is_paused: whether what has arrived waits for us, and not we for the client.
        on_slow: called once when the body arrives too slowly.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        is_awaited: Callable[[], bool],
        is_paused: Callable[[], bool],
        on_slow: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._is_awaited = is_awaited
        self._is_paused = is_paused
        self._on_slow = on_slow
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self.received_bytes = 0
        """Of the present body; counted by the connection."""

    def watch(self) -> None:
        """Begin to watch if a body is awaited and not watched yet."""
        if self._timer is None and self._is_awaited():
            self._began = self._loop.time()
            self._timer = self._loop.call_later(BODY_GRACE_S, self._check)

    def reset(self) -> None:
        """Stop watching; the next body begins with no bytes."""
        self.received_bytes = 0
        self.stop()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if not self._is_awaited():
            return
        now = self._loop.time()
        if self._is_paused():
            self._began = now
        elif self.received_bytes < (now - self._began - BODY_GRACE_S) * BODY_BYTES_PER_S or (
            not self.received_bytes
        ):
            self._on_slow()
            return
        self._timer = self._loop.call_later(BODY_GRACE_S, self._check)
