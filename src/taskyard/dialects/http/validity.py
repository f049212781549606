"""Long answers end with the credential they began with."""

import anyio
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.core.access.principals import Caller
from taskyard.ports.clock import Clock
from taskyard.services.access.credential_lifetime import watched


class WhileValid:
    """An answer that is cut off when the caller's credential ends; an ASGI application."""

    def __init__(self, clock: Clock, caller: Caller, answer: ASGIApp) -> None:
        self._clock = clock
        self._caller = caller
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises ``ConnectionAbortedError``: nobody must take what came for all of it."""
        with (
            anyio.CancelScope() as cancelled,
            watched(self._clock, self._caller, cancelled.cancel),
        ):
            return await self._answer(scope, receive, send)
        raise ConnectionAbortedError("the credential ended while the answer was sent")
