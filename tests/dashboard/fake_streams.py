"""Logs and changes of the stand-in for the native API, as they grow."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from fake_world import Json, World
from litestar import Request, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

Call = Request[Any, Any, State]


def world_of(connection: ASGIConnection[Any, Any, Any, Any]) -> World:
    """The data of this application."""
    world: World = connection.app.state.world
    return world


async def follow(world: World, task_id: str, offsets: Json) -> AsyncIterator[Json]:
    """Output as it comes, then the exit; ends early when the connections are cut."""
    epoch = world.log_epoch
    while world.log_epoch == epoch:
        for stream, at in offsets.items():
            data = bytes(world.logs[task_id, stream][at : at + 65_536])
            if data:
                offsets[stream] = at + len(data)
                message = {"type": "output", "attempt": 1, "stream": stream, "offset": at,
                           "next_offset": at + len(data)}  # fmt: skip
                try:
                    yield {**message, "text": data.decode()}
                except UnicodeDecodeError:
                    yield {**message, "base64": base64.b64encode(data).decode()}
        last = world.attempts[task_id][-1]
        if last["state"] != "running":
            yield {"type": "exit", "attempt": last["number"], "state": last["state"],
                   "exit_code": last["exit_code"], "signal": last["signal"],
                   "reason": last["reason"], "message": last["message"],
                   "stdout_dropped": 0, "stderr_dropped": 0}  # fmt: skip
            return
        await anyio.sleep(0.05)


@asynccontextmanager
async def until_closed(socket: WebSocket[Any, Any, State]) -> AsyncIterator[None]:
    """Leave the block when the other side has gone."""

    async def watch() -> None:
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_data("text")
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        yield
        group.cancel_scope.cancel()


@websocket("/api/v1/tasks/{task_id:str}/logs/ws")
async def log_socket(socket: WebSocket[Any, Any, State], task_id: FromPath[str]) -> None:
    """Follow a log."""
    await socket.accept()
    world = world_of(socket)
    world.log_connections += 1
    offsets = {name: int(socket.query_params.get(name, 0)) for name in ("stdout", "stderr")}
    async with until_closed(socket):
        async for message in follow(world, task_id, offsets):
            await socket.send_json(message)
        await socket.close(code=1000, reason="exit")


@websocket("/api/v1/events/ws")
async def change_socket(socket: WebSocket[Any, Any, State]) -> None:
    """Every change."""
    await socket.accept()
    async with until_closed(socket), world_of(socket).listening() as changes:
        async for change_message in changes:
            await socket.send_json(change_message)


@get("/api/v1/events/stream")
async def change_stream(request: Call) -> ServerSentEvent:
    """Every change, as server-sent events."""

    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        async with world_of(request).listening() as changes:
            yield ServerSentEventMessage(comment="hello")
            async for one in changes:
                yield ServerSentEventMessage(data=json.dumps(one), event=one["type"])

    return ServerSentEvent(messages())


@get("/api/v1/tasks/{task_id:str}/logs/follow")
async def log_stream(request: Call, task_id: FromPath[str]) -> ServerSentEvent:
    """Follow a log, as server-sent events."""
    offsets = {name: int(request.query_params.get(name, 0)) for name in ("stdout", "stderr")}

    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        async for one in follow(world_of(request), task_id, offsets):
            yield ServerSentEventMessage(data=json.dumps(one), event=one["type"])

    return ServerSentEvent(messages())


async def grow(world: World) -> None:
    """Write a line to the log of every running task now and then."""
    number = 0
    while True:
        await anyio.sleep(0.1)
        for task in [task for task in world.tasks.values() if task["state"] == "running"]:
            number += 1
            world.logs.setdefault((task["id"], "stdout"), bytearray()).extend(b"tick %d\n" % number)
