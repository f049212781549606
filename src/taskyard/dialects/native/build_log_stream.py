"""Streams the log of a build while it grows."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, ExitStack

from litestar.types import Receive, Scope, Send

from taskyard.core.errors import Overloaded
from taskyard.dialects.http.answers import TEXT, StreamedAnswer
from taskyard.dialects.native.errors import problem_of, request_id_of
from taskyard.services.functions.version_builder import BuildLog


class BuildLogStream:
    """The log of a build as it grows; an ASGI application that sends it."""

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
            await StreamedAnswer(self._pieces(), (TEXT,))(scope, receive, send)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        offset = 0
        while text := await self._log.beyond(offset):
            offset += len(text)
            yield text.encode()
