"""Output of tasks: read a part, download, follow live."""

from typing import Any, Final

from litestar.types import ASGIApp, Scope
from msgspec import UNSET
from msgspec.structs import replace

from taskyard.core.errors import NotFound
from taskyard.dialects.http.downloads import LogDownload, MergedDownload, Unsatisfiable, parse_range
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.http.sockets import Socket
from taskyard.dialects.native.dialect import SOCKET, Call, Description, answers
from taskyard.dialects.native.errors import ProblemError, malformed
from taskyard.dialects.native.follow import follow_source, resume_point
from taskyard.dialects.native.queries import BothQuery, FollowQuery, LogQuery
from taskyard.dialects.native.streaming import EventStream, Source, serve_socket
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import CaughtUp, Exit
from taskyard.services.tasks.log_text import OutputMessage
from taskyard.services.tasks.logs import LARGEST_SLICE_BYTES

OCTETS: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"


routes = Routes[Call[Any, Any], Description](answers({}), "/tasks/{task_id}/logs")


@routes.get("/{stream}", answers({200: OCTETS, 206: OCTETS}, fails=(404, 416)))
async def read_log(call: Call[LogQuery, None]) -> ASGIApp:
    """Bytes of one stream of an attempt, the latest attempt unless one is named."""
    query, logs = call.query, call.engine.logs
    name = call.path("stream")
    if name not in Stream.__members__.values():
        raise NotFound("stream", name)
    stream = Stream(name)
    attempt = await logs.resolve(call.caller, call.task_id, query.attempt or None)
    known = await logs.slice(attempt, stream, 0, 0)
    etag = f'"{attempt.id}-{stream}-{known.size}"'.encode()
    headers = [
        (b"content-type", OCTETS.encode()),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        (b"log-size", b"%d" % known.size),
        (b"log-dropped", b"%d" % known.dropped),
        (b"log-complete", b"true" if known.complete else b"false"),
        (b"log-attempt", b"%d" % attempt.number),
    ]
    if known.complete:
        headers.append((b"etag", etag))
    if query.download:
        file_name = f"{call.task_id}-{attempt.number}.{stream}.log"
        headers.append((b"content-disposition", f'attachment; filename="{file_name}"'.encode()))
    part, status = (0, known.size), 200
    if query.offset is not UNSET or query.length is not UNSET:
        offset = 0 if query.offset is UNSET else min(query.offset, known.size)
        length = known.size - offset
        part = offset, length if query.length is UNSET else min(query.length, length)
    else:
        try:
            asked = parse_range(_range(call.scope, known.complete, etag), known.size)
        except Unsatisfiable:
            raise ProblemError(
                416,
                "range-not-satisfiable",
                f"the stream is {known.size} bytes long",
                ((b"content-range", b"bytes */%d" % known.size),),
            ) from None
        if asked is not None:
            part, status = asked, 206
    if not query.download:
        part = part[0], min(part[1], LARGEST_SLICE_BYTES)
    if status == 206:
        last = part[0] + part[1] - 1
        headers.append((b"content-range", b"bytes %d-%d/%d" % (part[0], last, known.size)))
    return call.while_valid(LogDownload(logs, known.attempt, stream, part, status, headers))


@routes.get("/both", answers({200: OCTETS}, fails=(404,)))
async def read_both(call: Call[BothQuery, None]) -> ASGIApp:
    """Bytes of both streams of an attempt in the order they came, up to the present end."""
    query, engine = call.query, call.engine
    attempt = await engine.logs.resolve(call.caller, call.task_id, query.attempt or None)
    known = [await engine.logs.slice(attempt, stream, 0, 0) for stream in Stream]
    headers = [
        (b"content-type", OCTETS.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"log-dropped", b"%d" % sum(one.dropped for one in known)),
        (b"log-complete", b"true" if known[0].complete else b"false"),
        (b"log-attempt", b"%d" % attempt.number),
    ]
    if query.download:
        file_name = f"{call.task_id}-{attempt.number}.log"
        headers.append((b"content-disposition", f'attachment; filename="{file_name}"'.encode()))
    items = engine.follow.follow(
        call.caller,
        call.task_id,
        attempt.number,
        query.stdout,
        query.stderr,
        wait=False,
        timed=query.timestamps,
    )
    return call.while_valid(MergedDownload(items, headers, timed=query.timestamps))


@routes.get(
    "/follow",
    answers(
        {200: EVENTS}, fails=(404,), token_in_query=True, events=(OutputMessage, CaughtUp, Exit)
    ),
)
async def follow_log(call: Call[FollowQuery, None]) -> ASGIApp:
    """Follow the output live, as server-sent events, up to the exit record."""
    query = call.query
    for name, value in call.scope["headers"]:
        if name == b"last-event-id":
            attempt, stdout, stderr = resume_point(value)
            query = replace(query, attempt=attempt or UNSET, stdout=stdout, stderr=stderr)
    return EventStream(call, await _source(call, query))


@routes.socket("/ws", SOCKET)
async def follow_log_socket(call: Call[FollowQuery, None], socket: Socket) -> None:
    """Follow the output live, over a WebSocket."""
    await serve_socket(call, socket, await _source(call, call.query))


async def _source(call: Call[FollowQuery, None], query: FollowQuery) -> Source:
    attempt, stdout, stderr = query.attempt or None, query.stdout, query.stderr
    if stdout < 0 and stderr < 0:
        raise malformed("leaves out both streams; there is nothing to follow", "stderr")
    caller, task_id, follow = call.caller, call.task_id, call.engine.follow
    # Before the stream begins, so that an unknown task is a plain 404.
    await follow.check(caller, task_id, attempt, stdout, stderr)
    how = {"wait": query.wait, "timed": query.timestamps}
    return follow_source(follow, caller, task_id, attempt, stdout, stderr, **how)


def _range(scope: Scope, complete: bool, etag: bytes) -> bytes | None:
    """The ``Range`` header, unless an ``If-Range`` says that it is about something else."""
    found = condition = None
    for name, value in scope["headers"]:
        if name == b"range":
            found = value
        elif name == b"if-range":
            condition = value.strip()
    if condition is not None and not (complete and condition == etag):
        return None
    return found
