"""The two WebSockets: live output, and a close reason that says whether to come back."""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import anyio
import structlog
from litestar import WebSocket

from taskyard.core.errors import NotFound, TaskyardError
from taskyard.core.ids import TaskId
from taskyard.core.jobs import Execution
from taskyard.core.states import TERMINAL
from taskyard.dialects.fastlane.dialect import Call
from taskyard.dialects.fastlane.errors import answer_of, page_answer
from taskyard.dialects.fastlane.outputs import SEPARATOR, error_pieces, log_pieces
from taskyard.dialects.fastlane.statuses import WAITING, exit_code_of, status_of
from taskyard.dialects.http.sockets import refuse_upgrade
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import Exit, Output

DONE: Final = "done"
RETRY: Final = "retry"
SEND_S: Final = 60.0
"""Seconds a peer may take no bytes before its stream is dropped."""

log = structlog.get_logger(__name__)


async def serve_socket(call: Call, socket: WebSocket[Any, Any, Any]) -> None:
    """Refuse what is not there before the upgrade; stream everything else."""
    try:
        execution = await _followed(call)
    except TaskyardError as error:
        is_unknown = isinstance(error, NotFound)
        refusal = page_answer(404) if is_unknown else answer_of(error) or page_answer(500)
        await refuse_upgrade(socket.scope, socket.send, refusal)
        return
    reason = RETRY
    streams = call.fastlane.host.streams
    try:
        with streams.enter(call.engine.clock, call.caller):
            await socket.accept()
            if execution is not None:
                reason = await _stream(call, execution, socket)
    except TaskyardError as error:
        if socket.connection_state == "init":
            refusal = answer_of(error) or page_answer(500)
            await refuse_upgrade(socket.scope, socket.send, refusal)
            return
    except OSError:
        return  # the reader is gone
    except Exception:
        log.exception("fastlane_stream_failed", job=call.path("job_id"))
    if reason:
        await socket.send({"type": "websocket.close", "code": 1000, "reason": reason})


async def _followed(call: Call) -> Execution | None:
    """What is to be followed; None while there is no such execution. Raises ``NotFound``."""
    job = await call.job()
    if "execution_id" not in call.scope["path_params"]:
        return await call.last_execution(job)
    try:
        execution_id = TaskId(call.path("execution_id").lower())
        return await call.engine.jobs.execution(job, execution_id)
    except NotFound:
        return None


async def _stream(call: Call, execution: Execution, socket: WebSocket[Any, Any, Any]) -> str:
    """Send what there is; answers with the reason to close, empty if the reader left."""
    status = status_of(execution)
    if status in WAITING:
        return RETRY
    pieces = _live(call, execution) if status == "running" else _ended(call, execution)
    stayed, reason = True, DONE
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal stayed
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
            stayed = False
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            async with aclosing(pieces) as texts:
                async for text in texts:
                    if text is None:
                        reason = RETRY
                        break
                    with anyio.fail_after(SEND_S):
                        await socket.send({"type": "websocket.send", "text": text, "bytes": None})
        except Exception as error:  # noqa: BLE001 - raised below, outside the group that wraps it
            failure = error
        group.cancel_scope.cancel()
    if not stayed:
        return ""
    if failure is not None:
        if not isinstance(failure, (OSError, TaskyardError)):
            log.error("fastlane_stream_failed", exc_info=failure)
        return RETRY
    return reason


async def _ended(call: Call, execution: Execution) -> AsyncGenerator[str | None, None]:
    """Exit code, log, a line between, error: four messages, long ones in several."""
    yield f"EXIT CODE: {exit_code_of(execution)}\n"
    logs = call.engine.logs
    async for piece in _at_least_one(log_pieces(logs, execution)):
        yield piece
    yield SEPARATOR
    async for piece in _at_least_one(error_pieces(logs, execution)):
        yield piece


async def _at_least_one(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    count = 0
    async for piece in pieces:
        count += 1
        yield piece
    if not count:
        yield ""


async def _live(call: Call, execution: Execution) -> AsyncGenerator[str | None, None]:
    """Output as it comes; None where it broke off and may go on elsewhere."""
    decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in Stream}
    follow = call.engine.follow.follow(call.caller, execution.task.id, None, 0, 0)
    async with aclosing(follow) as items:
        async for item in items:
            if isinstance(item, Output):
                text = decoders[item.stream].decode(item.data)
                if text:
                    yield text
            elif isinstance(item, Exit):
                for decoder in decoders.values():
                    if rest := decoder.decode(b"", final=True):
                        yield rest
                if item.task_state not in TERMINAL:
                    yield None
                return
    yield None  # the service stops
