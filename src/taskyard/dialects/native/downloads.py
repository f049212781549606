"""Sends log bytes in pieces, so that a large log never sits in memory."""

from collections.abc import Iterable
from typing import Final

from litestar.types import Receive, Scope, Send

from taskyard.core.attempts import Attempt
from taskyard.dialects.http.answers import is_head
from taskyard.ports.logs import Stream
from taskyard.services.tasks.logs import Logs

PIECE_BYTES: Final = 256 << 10


class LogDownload:
    """A part of one stream of one attempt; an ASGI application that sends it."""

    def __init__(
        self,
        logs: Logs,
        attempt: Attempt,
        stream: Stream,
        part: tuple[int, int],
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        """Prepare to send ``part``, an offset and a length that are there now."""
        self._logs = logs
        self._attempt = attempt
        self._stream = stream
        self._offset, self._length = part
        self._status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it. Raises ``ConnectionAbortedError`` if the log is deleted meanwhile."""
        headers = [*self._headers, (b"content-length", b"%d" % self._length)]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        left = 0 if is_head(scope) else self._length
        offset = self._offset
        while left > 0:
            part = await self._logs.slice(
                self._attempt, self._stream, offset, min(left, PIECE_BYTES)
            )
            if not part.data:
                # The promised length cannot be kept; the reader must not take this for the end.
                raise ConnectionAbortedError("the log went away while it was sent")
            left -= len(part.data)
            offset += len(part.data)
            await send({"type": "http.response.body", "body": part.data, "more_body": left > 0})
        if self._length == 0 or is_head(scope):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
