"""Output of tasks: read a part, download, follow live."""

from typing import Final

from litestar import Controller
from litestar.types import ASGIApp, Scope
from msgspec import UNSET

from taskyard.core.errors import NotFound
from taskyard.dialects.native.downloads import LogDownload
from taskyard.dialects.native.errors import Refusal, malformed
from taskyard.dialects.native.follow import follow_source, resume_point
from taskyard.dialects.native.operation import Call, operation
from taskyard.dialects.native.push import EventStream, Source, socket
from taskyard.dialects.native.queries import FollowQuery, LogQuery
from taskyard.dialects.native.ranges import Unsatisfiable, parse_range
from taskyard.ports.logs import Stream
from taskyard.services.tasks.logs import LARGEST_SLICE_BYTES

OCTETS: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"


class LogRoutes(Controller):
    """Everything under ``/tasks/{id}/logs``."""

    path = "/tasks/{task_id:str}/logs"
    tags = ("Logs",)

    @operation("GET", "/{stream:str}", {200: OCTETS, 206: OCTETS}, fails=(404, 416))
    async def read_log(self, call: Call[LogQuery, None]) -> ASGIApp:
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
                raise Refusal(
                    416,
                    "range-not-satisfiable",
                    f"this stream has {known.size} bytes now",
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

    @operation("GET", "/follow", {200: EVENTS}, fails=(404,), token_in_query=True)
    async def follow_log(self, call: Call[FollowQuery, None]) -> ASGIApp:
        """Follow the output live, as server-sent events, up to the exit record."""
        query = call.query
        attempt, stdout, stderr = query.attempt or None, query.stdout, query.stderr
        for name, value in call.scope["headers"]:
            if name == b"last-event-id":
                attempt, stdout, stderr = resume_point(value)
        source = await _source(call, attempt, stdout, stderr)
        return EventStream(call.native, call.caller, source)

    @socket("/ws")
    async def follow_log_socket(self, call: Call[FollowQuery, None]) -> Source:
        """Follow the output live, over a WebSocket."""
        query = call.query
        return await _source(call, query.attempt or None, query.stdout, query.stderr)


async def _source(
    call: Call[FollowQuery, None], attempt: int | None, stdout: int, stderr: int
) -> Source:
    if stdout < 0 and stderr < 0:
        raise malformed("leaves out both streams; there is nothing to follow", "stderr")
    caller, task_id = call.caller, call.task_id
    # Before the stream begins, so that an unknown task is a plain 404.
    await call.engine.follow.check(caller, task_id, attempt, stdout, stderr)
    return follow_source(call.engine.follow, caller, task_id, attempt, stdout, stderr)


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
