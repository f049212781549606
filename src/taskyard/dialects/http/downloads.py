"""Sends log bytes in pieces, so that a large log never sits in memory."""

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from litestar.types import Receive, Scope, Send

from taskyard.core.attempts import Attempt
from taskyard.core.errors import StoreDamaged
from taskyard.core.instants import rfc3339
from taskyard.core.line_times import LineTimes
from taskyard.dialects.http.answers import is_head
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import CaughtUp, Exit, Ping
from taskyard.services.tasks.followed import Output
from taskyard.services.tasks.logs import Logs

_RANGE: Final = re.compile(rb"(?i:bytes)\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*\Z")
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
            try:
                part = await self._logs.slice(
                    self._attempt, self._stream, offset, min(left, PIECE_BYTES)
                )
            except StoreDamaged as error:
                raise ConnectionAbortedError(str(error)) from error
            if not part.data:
                # The promised length cannot be kept; the reader must not take this for the end.
                raise ConnectionAbortedError("the log went away while it was sent")
            left -= len(part.data)
            offset += len(part.data)
            await send({"type": "http.response.body", "body": part.data, "more_body": left > 0})
        if self._length == 0 or is_head(scope):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class MergedDownload:
    """Both streams of one attempt in the order they came; an ASGI application that sends them."""

    def __init__(
        self,
        items: AsyncGenerator[Output | Exit | CaughtUp | Ping, None],
        headers: Iterable[tuple[bytes, bytes]],
        *,
        timed: bool,
    ) -> None:
        """Prepare to send what a follower yields; with ``timed``, each line after its time."""
        self._items = items
        self._headers = headers
        self._times = LineTimes() if timed else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send it, without saying before how much it is: it may grow meanwhile.

        Raises ``ConnectionAbortedError`` if some of it is not there any more.
        """
        await send({"type": "http.response.start", "status": 200, "headers": list(self._headers)})
        async with aclosing(self._items) as items:
            if not is_head(scope):
                await self._send(items, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(
        self, items: AsyncGenerator[Output | Exit | CaughtUp | Ping, None], send: Send
    ) -> None:
        async for item in items:
            if isinstance(item, Output):
                data = item.data
                if self._times is not None:
                    at = None if item.at is None else rfc3339(item.at)
                    data = self._times.stamped(item.stream.value, at, data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
            elif isinstance(item, Exit) and (item.stdout_missing or item.stderr_missing):
                raise ConnectionAbortedError("a part of the log is gone")


class Unsatisfiable(Exception):
    """The range begins at or behind the end."""


def parse_range(header: bytes | None, size: int) -> tuple[int, int] | None:
    """First byte and length asked for, cut to what there is; None if the header asks for nothing.

    A header that is malformed, of another unit or of several ranges is ignored, as the standard
    allows. Raises :class:`Unsatisfiable` if nothing of the range is there.
    """
    match = _RANGE.match(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return size - length, length
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, min(last, size - 1) - first + 1
