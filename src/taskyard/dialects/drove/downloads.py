"""Sends a whole log file in pieces, so that a large one never sits in memory."""

from typing import Final

from litestar.types import Receive, Scope, Send

from taskyard.core.attempts import Attempt
from taskyard.dialects.http.answers import is_head
from taskyard.ports.logs import Stream
from taskyard.services.tasks.logs import Logs

_PIECE_BYTES: Final = 256 << 10


class Download:
    """One stream of an attempt as it is now; an ASGI application that sends it."""

    def __init__(
        self, logs: Logs, attempt: Attempt, stream: Stream, size: int, headers: dict[str, str]
    ) -> None:
        """Prepare to send the first ``size`` bytes, which are there."""
        self._logs = logs
        self._attempt = attempt
        self._stream = stream
        self._size = size
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it. Raises ``ConnectionAbortedError`` if the file is deleted meanwhile."""
        headers = [*self._headers, (b"content-length", b"%d" % self._size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        left = 0 if is_head(scope) else self._size
        while left > 0:
            offset, length = self._size - left, min(left, _PIECE_BYTES)
            part = await self._logs.slice(self._attempt, self._stream, offset, length)
            if not part.data:
                # The promised length cannot be kept; the reader must not take this for the end.
                raise ConnectionAbortedError("the log went away while it was sent")
            left -= len(part.data)
            await send({"type": "http.response.body", "body": part.data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
