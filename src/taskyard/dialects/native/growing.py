"""The log of a build, sent while it grows."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack

from litestar.types import Receive, Scope, Send

from taskyard.core.errors import Overloaded
from taskyard.dialects.native.errors import problem_of, request_id_of
from taskyard.services.functions.version_builder import BuildLog


class GrowingLog:
    """A log as it grows; an ASGI application that sends it."""

    def __init__(self, log: BuildLog, waiting: AbstractContextManager[None]) -> None:
        self._log = log
        self._waiting = waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until the build has ended; refused where too many wait."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._waiting)
            except Overloaded as error:
                answer = problem_of(error, request_id_of(scope["headers"]))
                await answer(scope, receive, send)
                return
            await self._send(send)

    async def _send(self, send: Send) -> None:
        kind = (b"content-type", b"text/plain; charset=utf-8")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        async for text in self._pieces():
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncIterator[str]:
        offset = 0
        while text := await self._log.beyond(offset):
            offset += len(text)
            yield text
