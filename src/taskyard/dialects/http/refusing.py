"""Refuses WebSocket handshakes with plain HTTP answers."""

from litestar.types import Scope, Send

from taskyard.dialects.http.answers import Answer


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
