"""Live streams: one source of messages, as server-sent events or over a WebSocket."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import anyio
import structlog
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from taskyard.core.errors import TaskyardError, Unavailable
from taskyard.dialects.http.answers import is_head
from taskyard.dialects.http.sockets import Socket
from taskyard.dialects.http.streams import while_present
from taskyard.dialects.native.dialect import Call
from taskyard.dialects.native.errors import problem_of, request_id_of

SEND_S: Final = 60.0
"""Seconds a peer may take no bytes before its stream is dropped."""
_STOPPING: Final = (1001, "the server is stopping")
WITHDRAWN: Final = (1008, "the credential has ended")
_EVENT_STREAM: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

log = structlog.get_logger(__name__)


class Message(Struct, frozen=True):
    """One message of a stream."""

    event: str
    data: bytes
    """JSON text without line breaks."""
    id: str | None = None
    """Where a reader that reconnects goes on."""


Source = AsyncGenerator[Message | None, None]
"""Messages; None where the stream should show a sign of life."""


class EventStream:
    """Serves a source as server-sent events; an ASGI application."""

    def __init__(self, call: Call[Any, Any], source: Source) -> None:
        self._call = call
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the source or the credential ends, the reader leaves, or the server stops."""
        started = False
        async with aclosing(self._source) as source:
            try:
                with self._call.context.streams.enter(self._call.engine.clock, self._call.caller):
                    started = True
                    await send(
                        {"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM}
                    )
                    if not is_head(scope):
                        await _pump(source, receive, _event_sender(send))
            except TaskyardError as error:
                if not started:
                    answer = problem_of(error, request_id_of(scope["headers"]))
                    await answer(scope, receive, send)
                    return
                if not isinstance(error, Unavailable):
                    raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _event_sender(send: Send) -> Callable[[Message | None], Awaitable[None]]:
    async def send_event(message: Message | None) -> None:
        if message is None:
            body = b": ping\n\n"
        else:
            head = f"event: {message.event}\n" + (f"id: {message.id}\n" if message.id else "")
            body = head.encode() + b"data: " + message.data + b"\n\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})

    return send_event


async def serve_socket(call: Call[Any, Any], socket: Socket, source_: Source) -> None:
    """Serve a source over a WebSocket. Raises what is to be answered before the upgrade."""
    code, reason = 1000, "exit"
    withdrawn = False
    async with aclosing(source_) as source:
        try:
            with call.context.streams.enter(call.engine.clock, call.caller) as stream:
                await socket.accept()
                stayed = await _pump(source, socket.receive, _socket_sender(socket))
                if not stayed:
                    return
            withdrawn = stream.credential_ended
        except Exception as error:
            if not socket.is_open:
                raise
            if not isinstance(error, (OSError, Unavailable)):
                log.exception("stream_failed", path=socket.scope["path"])
            code, reason = 1011, "this stream broke; come back at your offset"
    if withdrawn:
        code, reason = WITHDRAWN
    elif call.context.streams.closing:
        code, reason = _STOPPING
    await socket.close(code, reason)


def _socket_sender(
    socket: Socket,
) -> Callable[[Message | None], Awaitable[None]]:
    async def send_text(message: Message | None) -> None:
        # The protocol below sends pings of its own.
        if message is not None:
            await socket.send_text(message.data.decode())

    return send_text


async def _pump(
    source: Source,
    receive: Callable[[], Awaitable[Any]],
    deliver: Callable[[Message | None], Awaitable[None]],
) -> bool:
    """Carry messages from the source to the reader; False if the reader left before the end."""

    async def carry() -> None:
        async for message in source:
            with anyio.fail_after(SEND_S):
                await deliver(message)

    return await while_present(receive, carry)
