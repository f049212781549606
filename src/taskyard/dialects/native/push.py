"""Live streams: one source of messages, served as server-sent events or over a WebSocket."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import anyio
import structlog
from litestar import Controller, WebSocket
from litestar.handlers import WebsocketRouteHandler
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from taskyard.core.access.principals import Caller
from taskyard.core.errors import NotAllowed, TaskyardError, Unavailable
from taskyard.dialects.http.answers import is_head
from taskyard.dialects.http.sockets import refuse_upgrade
from taskyard.dialects.native.callers import caller_of
from taskyard.dialects.native.errors import problem_of, request_id_of
from taskyard.dialects.native.native import Native, native_of
from taskyard.dialects.native.operation import (
    Call,
    decode_query,
    note_refusal,
    query_pairs,
    types_of,
)

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

    def __init__(self, native: Native, caller: Caller, source: Source) -> None:
        self._native = native
        self._caller = caller
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the source or the credential ends, the reader leaves, or the server stops."""
        started = False
        async with aclosing(self._source) as source:
            try:
                with self._native.streams.enter(self._native.engine.clock, self._caller):
                    started = True
                    await send(
                        {"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM}
                    )
                    if not is_head(scope):
                        await _pump(source, receive, _event_sender(send), "http.disconnect")
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


def socket(
    path: str,
) -> Callable[[Callable[[Any, Call[Any, None]], Awaitable[Source]]], WebsocketRouteHandler]:
    """Make a WebSocket route of a controller's method that answers with a source.

    Whatever the method raises is answered as a plain HTTP response before the upgrade.
    """

    def decorate(
        function: Callable[[Any, Call[Any, None]], Awaitable[Source]],
    ) -> WebsocketRouteHandler:
        query_type, _, _ = types_of(function)

        async def handle(self: Controller, socket: WebSocket[Any, Any, Any]) -> None:
            scope = socket.scope
            native = native_of(scope)
            caller: Caller | None = None
            try:
                pairs = query_pairs(scope["query_string"])
                token = pairs.pop("access_token", None)
                caller = await caller_of(native, scope, token if isinstance(token, str) else None)
                query = decode_query(pairs, query_type)
                source = await function(self, Call(native, caller, scope, query, None))
            except Exception as error:  # noqa: BLE001 - the top of a request
                if isinstance(error, NotAllowed) and caller is not None:
                    await note_refusal(native, function.__name__, caller, scope, error)
                answer = problem_of(error, request_id_of(scope["headers"]))
                await refuse_upgrade(scope, socket.send, answer)
                return
            await _serve_socket(native, caller, socket, source)

        handle.__name__ = function.__name__
        handle.__doc__ = function.__doc__
        return WebsocketRouteHandler(path)(handle)

    return decorate


async def _serve_socket(
    native: Native, caller: Caller, socket: WebSocket[Any, Any, Any], source_: Source
) -> None:
    code, reason = 1000, "exit"
    withdrawn = False
    async with aclosing(source_) as source:
        try:
            with native.streams.enter(native.engine.clock, caller) as stream:
                await socket.accept()
                stayed = await _pump(
                    source, socket.receive, _socket_sender(socket), "websocket.disconnect"
                )
                if not stayed:
                    return
            withdrawn = stream.credential_ended
        except Exception as error:
            if socket.connection_state == "init":
                answer = problem_of(error, request_id_of(socket.scope["headers"]))
                await refuse_upgrade(socket.scope, socket.send, answer)
                return
            if not isinstance(error, (OSError, Unavailable)):
                log.exception("stream_failed", path=socket.scope["path"])
            code, reason = 1011, "this stream broke; come back at your offset"
    if withdrawn:
        code, reason = WITHDRAWN
    elif native.streams.closing:
        code, reason = _STOPPING
    await socket.send({"type": "websocket.close", "code": code, "reason": reason})


def _socket_sender(
    socket: WebSocket[Any, Any, Any],
) -> Callable[[Message | None], Awaitable[None]]:
    async def send_text(message: Message | None) -> None:
        # The protocol below sends pings of its own.
        if message is not None:
            await socket.send(
                {"type": "websocket.send", "text": message.data.decode(), "bytes": None}
            )

    return send_text


async def _pump(
    source: Source,
    receive: Callable[[], Awaitable[Any]],
    deliver: Callable[[Message | None], Awaitable[None]],
    goodbye: str,
) -> bool:
    """Carry messages from the source to the reader; False if the reader left before the end."""
    stayed = True
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal stayed
            while (await receive())["type"] != goodbye:
                pass
            stayed = False
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            async for message in source:
                with anyio.fail_after(SEND_S):
                    await deliver(message)
        except Exception as error:  # noqa: BLE001 - raised below, outside the group that wraps it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None and stayed:
        raise failure
    return stayed
