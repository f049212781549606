"""WebSockets as handlers use them, and how a handshake is refused."""

from typing import Any

from litestar.types import Receive, Scope, Send

from taskyard.dialects.http.answers import Answer


class Socket:
    """One connection, from the handshake on."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive: Any = receive
        self.is_open = False
        """Whether it was accepted."""
        self._send: Any = send

    async def accept(self) -> None:
        """Answer the handshake."""
        self.is_open = True
        await self._send({"type": "websocket.accept", "subprotocol": None, "headers": []})

    async def send_text(self, text: str) -> None:
        """Send one message."""
        await self._send({"type": "websocket.send", "text": text, "bytes": None})

    async def close(self, code: int, reason: str) -> None:
        """Close the connection."""
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def refuse(self, answer: Answer) -> None:
        """Answer the handshake with a plain HTTP answer instead."""
        await refuse_upgrade(self.scope, self._send, answer)


async def refuse_upgrade(scope: Scope, send: Send, answer: Answer) -> None:
    """Answer a handshake with this, or close where the server below cannot do that."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": str(answer.status)})
        return
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send(
        {"type": "websocket.http.response.start", "status": answer.status, "headers": headers}
    )
    await send({"type": "websocket.http.response.body", "body": answer.body})  # type: ignore[arg-type]  # an extension Litestar does not know
