"""The WebSocket of a workspace: the whole list, at once, after changes, and each second."""

import asyncio
import contextlib
from typing import Final

import structlog

from taskyard.dialects.gx.auth import Workspace
from taskyard.dialects.gx.dialect import GxCall
from taskyard.dialects.gx.errors import BAD_REQUEST, TOO_MANY_STREAMS, refused
from taskyard.dialects.gx.projection import WorkspaceFeed
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.http.sockets import Socket
from taskyard.dialects.http.streams import while_present

STOPPING: Final = (1001, "the service is stopping")
WITHDRAWN: Final = (1008, "the key was withdrawn")
DEFECT: Final = (1011, "internal server error")

log = structlog.get_logger(__name__)
routes = Routes[GxCall, bool](access=False)


@routes.get("/ws/tasks")
async def no_upgrade(_call: GxCall) -> Answer:
    """Section 4: the stream's path, asked for without the headers of an upgrade."""
    raise refused(BAD_REQUEST)


@routes.socket("/ws/tasks")
async def stream(call: GxCall, socket: Socket) -> None:
    """Section 4: one stream, or why there is none, before the upgrade."""
    dialect, key = call.dialect, call.workspace.key
    feed = await dialect.feeds.of(key)
    reader = _Reader(call.workspace, feed)
    if len(feed) >= dialect.settings.streams:
        raise refused(TOO_MANY_STREAMS)
    feed.enter(reader.notify)
    streams = call.context.streams
    try:
        with streams.enter(call.engine.clock, call.caller) as opened:
            await socket.accept()
            await reader.run(socket)
        if opened.credential_ended:
            reader.goodbye = WITHDRAWN
        elif streams.closing:
            reader.goodbye = STOPPING
        if reader.goodbye is not None:
            with contextlib.suppress(OSError):  # it left by itself meanwhile
                await socket.close(*reader.goodbye)
    finally:
        dialect.feeds.leave(key, feed, reader.notify)


class _Reader:
    """One stream's reader."""

    __slots__ = ("_feed", "_wake", "_workspace", "goodbye")

    def __init__(self, workspace: Workspace, feed: WorkspaceFeed) -> None:
        self._workspace = workspace
        self._feed = feed
        self._wake = asyncio.Event()
        self.goodbye: tuple[int, str] | None = None
        """Why it is to be closed from our side."""

    def notify(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self, socket: Socket) -> None:
        """Until the reader leaves, or this is cancelled."""
        try:
            await while_present(socket.receive, lambda: self._send_all(socket))
        except OSError:
            log.debug("stream_left", workspace=self._workspace.id)
        except Exception:
            log.exception("stream_failed", workspace=self._workspace.id)
            self.goodbye = DEFECT

    async def _send_all(self, socket: Socket) -> None:
        while True:
            self._wake.clear()
            await socket.send_text(self._feed.text)
            await self._wake.wait()
