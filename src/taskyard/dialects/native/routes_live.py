"""Live changes of the workspace's tasks."""

from typing import Any, Final

import anyio
import msgspec
from litestar.types import ASGIApp

from taskyard.core.ids import GroupName, TaskId
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.http.sockets import Socket
from taskyard.dialects.native.answers_tasks import change_answer
from taskyard.dialects.native.dialect import SOCKET, Call, Description, answers
from taskyard.dialects.native.queries import ChangesQuery
from taskyard.dialects.native.schemas_tasks import ChangeAnswer, GapAnswer
from taskyard.dialects.native.streaming import EventStream, Message, Source, serve_socket
from taskyard.services.notifications.bus import Gap

PING_S: Final = 15.0
"""Seconds without a change after which a stream shows a sign of life."""
_ENCODER: Final = msgspec.json.Encoder()


routes = Routes[Call[Any, Any], Description](answers({}), "/events")


@routes.get(
    "/stream",
    answers({200: "text/event-stream"}, token_in_query=True, events=(ChangeAnswer, GapAnswer)),
)
async def stream_changes(call: Call[ChangesQuery, None]) -> ASGIApp:
    """Every change of the workspace's tasks from now on, as server-sent events."""
    return EventStream(call, _changes(call))


@routes.socket("/ws", SOCKET)
async def stream_changes_socket(call: Call[ChangesQuery, None], socket: Socket) -> None:
    """Every change of the workspace's tasks from now on, over a WebSocket."""
    await serve_socket(call, socket, _changes(call))


async def _changes(call: Call[ChangesQuery, None]) -> Source:
    query = call.query
    async with call.engine.bus.subscribe(
        workspace=call.caller.workspace,
        group=GroupName(query.group) if query.group else None,
        task_id=TaskId(query.task) if query.task else None,
    ) as subscription:
        # Headers at once: whoever sees them knows that no later change is missed.
        yield None
        while True:
            change = None
            with anyio.move_on_after(PING_S):
                try:
                    change = await anext(subscription)
                except StopAsyncIteration:
                    return
            if change is None:
                yield None
            elif isinstance(change, Gap):
                yield Message("gap", _ENCODER.encode(GapAnswer(change.missed)))
            else:
                yield Message("change", _ENCODER.encode(change_answer(change)))
