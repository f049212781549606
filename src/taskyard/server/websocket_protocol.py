"""Closes WebSockets whose peer has stopped reading, to bound memory."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

STALL_S: Final = 30.0
"""Seconds a peer may take no byte of what waits for it, or leave a ping unanswered."""
PING_S: Final = 20.0
MESSAGE_BYTES: Final = 64 << 10
"""Largest message taken from a peer; a larger one closes the connection with 1009."""


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with an end to waiting for peers that do not read."""

    stall_s = STALL_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unread = 0

    async def send(self, message: Any) -> None:
        """Send; a refusal before the upgrade is the end of the handshake, and no defect."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    def pause_writing(self) -> None:
        """The peer falls behind: look whether it takes anything at all."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is to be watched any more."""
        self._stop_watching()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """No answer to a ping: what still waits to be sent will not be taken either."""
        super().keepalive_timeout()
        self.transport.abort()

    def _watch(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.stall_s, self._look)

    def _look(self) -> None:
        if self.transport.get_write_buffer_size() < self._unread:
            self._watch()  # slow, but it reads
        else:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
