"""Pages and WebSockets that follow output; their close reason says whether to come back."""

import codecs
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

import anyio
import structlog
from litestar.types import ASGIApp

from taskyard.core.errors import NotFound, TaskyardError
from taskyard.core.ids import TaskId
from taskyard.core.jobs import Execution
from taskyard.core.states import TERMINAL
from taskyard.dialects.fastlane.dialect import EXECUTION, JOB, Call
from taskyard.dialects.fastlane.errors import page_answer
from taskyard.dialects.fastlane.outputs import SEPARATOR, error_pieces, log_pieces
from taskyard.dialects.fastlane.pages import page_policy, stream_page
from taskyard.dialects.fastlane.statuses import WAITING, exit_code_of, status_of
from taskyard.dialects.http.answers import HTML, Answer
from taskyard.dialects.http.errors import Refused
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.http.sockets import Socket
from taskyard.dialects.http.streams import while_present
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import Exit
from taskyard.services.tasks.followed import Output

DONE: Final = "done"
RETRY: Final = "retry"
SEND_S: Final = 60.0
"""Seconds a peer may take no bytes before its stream is dropped."""

log = structlog.get_logger(__name__)
routes = Routes[Call, None](access=None)


@routes.get(JOB + "/stream")
@routes.get(EXECUTION + "/stream")
async def stream(call: Call) -> ASGIApp:
    """``GET J/stream`` and ``GET X/stream``: a page that follows the output."""
    given = call.path_params
    ids = [call.path(one) for one in ("task_id", "job_id", "execution_id") if one in given]
    segments = [
        part for pair in zip(("tasks", "jobs", "executions"), ids, strict=False) for part in pair
    ]
    quoted = "/".join(quote(one, safe="", errors="replace") for one in segments)
    page = stream_page(" / ".join(ids), f"{call.dialect.prefix}/{quoted}/ws/")
    policy = (b"content-security-policy", page_policy(page))
    return Answer(200, page, (HTML, policy, (b"cache-control", b"no-store")))


@routes.socket(JOB + "/ws")
@routes.socket(EXECUTION + "/ws")
async def follow(call: Call, socket: Socket) -> None:
    """What is not there is refused before the upgrade; everything else is streamed."""
    try:
        execution = await _followed(call)
    except NotFound as error:
        raise Refused(page_answer(404)) from error
    reason = RETRY
    try:
        with call.context.streams.enter(call.engine.clock, call.caller):
            await socket.accept()
            if execution is not None:
                reason = await _stream(call, execution, socket)
    except TaskyardError:
        if not socket.is_open:
            raise
    except OSError:
        return  # the reader is gone
    except Exception:
        if not socket.is_open:
            raise
        log.exception("fastlane_stream_failed", job=call.path("job_id"))
    if reason:
        await socket.close(1000, reason)


async def _followed(call: Call) -> Execution | None:
    """What is to be followed; None while there is no such execution. Raises ``NotFound``."""
    job = await call.job()
    if "execution_id" not in call.path_params:
        return await call.last_execution(job)
    try:
        execution_id = TaskId(call.path("execution_id").lower())
        return await call.engine.jobs.execution(job, execution_id)
    except NotFound:
        return None


async def _stream(call: Call, execution: Execution, socket: Socket) -> str:
    """Send what there is; answers with the reason to close, empty if the reader left."""
    status = status_of(execution)
    if status in WAITING:
        return RETRY
    pieces = _live(call, execution) if status == "running" else _ended(call, execution)
    reason = DONE

    async def send_all() -> None:
        nonlocal reason
        async with aclosing(pieces) as texts:
            async for text in texts:
                if text is None:
                    reason = RETRY
                    return
                with anyio.fail_after(SEND_S):
                    await socket.send_text(text)

    try:
        stayed = await while_present(socket.receive, send_all)
    except (OSError, TaskyardError):
        return RETRY
    except Exception:
        log.exception("fastlane_stream_failed")
        return RETRY
    return reason if stayed else ""


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
