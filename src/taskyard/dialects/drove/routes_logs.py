"""Log files of tasks, by byte offset and without an envelope."""

import mimetypes
import posixpath
from datetime import UTC, datetime
from typing import Final

from litestar.types import ASGIApp

from taskyard.core.attempts import Attempt
from taskyard.core.errors import NotFound, StoreDamaged
from taskyard.core.tasks import Container, Task
from taskyard.dialects.drove.auth import LOG_READERS
from taskyard.dialects.drove.dialect import BASE, Call, Roles
from taskyard.dialects.drove.errors import LogDamaged, LogNotFound, plain
from taskyard.dialects.drove.routes_tasks import find
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.downloads import LogDownload
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.http.streams import WhileValid
from taskyard.ports.logs import Stream
from taskyard.services.tasks.log_text import unfinished
from taskyard.services.tasks.logs import LARGEST_SLICE_BYTES, LogSlice

LIVE: Final = "output.log"
STDERR: Final = "output.log-stderr"
"""Of a task that came another way and keeps its outputs apart."""
CHUNK_BYTES: Final = 32_768
_CHARACTER_BYTES: Final = 4

routes = Routes[Call, Roles](LOG_READERS, f"{BASE}/logfiles/tasks/{{app}}/{{name}}")


@routes.get("/list")
async def list_files(call: Call) -> Answer:
    """The names of the files there are."""
    found = await _resolve(call)
    if found is None:
        return Answer(204)
    task, attempt = found
    if attempt is None:
        return plain({"files": []})
    return plain({"files": list(_files(task))})


@routes.get("/read/{file}")
async def read(call: Call) -> Answer:
    """A chunk of a file, cut where a character ends."""
    offset = call.number("offset", -1, -1)
    length = call.number("length", -1, -1)
    found = await _resolve(call)
    if found is None:
        return Answer(204)
    stream, attempt = _file(call, *found)
    if offset == -1:
        known = await _slice(call, attempt, stream, 0, 0)
        return plain({"data": "", "offset": known.size})
    wanted = min(CHUNK_BYTES if length == -1 else length, LARGEST_SLICE_BYTES)
    piece = await _slice(call, attempt, stream, offset, wanted)
    data = piece.data
    at_end = offset + len(data) >= piece.size
    rest = unfinished(data)
    if rest and rest < len(data) and not (at_end and piece.complete):
        data = data[:-rest]
    elif rest == len(data) and wanted and not at_end:
        # Less than a character was asked for: a whole one, so that its reader gets on.
        piece = await _slice(call, attempt, stream, offset, _CHARACTER_BYTES)
        data = _first_character(piece.data)
    elif rest == len(data) and not piece.complete:
        data = b""  # its rest is not written yet
    return plain({"data": data.decode(errors="replace"), "offset": offset})


@routes.get("/download/{file}")
async def download(call: Call) -> ASGIApp:
    """A whole file, as it is."""
    found = await _resolve(call)
    if found is None:
        return Answer(204)
    stream, attempt = _file(call, *found)
    name = _base_name(call.path("file"))
    shown = name
    asked = dict(call.pairs()).get("rename", "false").strip().lower()
    if asked == "true":
        app, task = call.path("app"), call.path("name")
        moment = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
        shown = f"{app}_{task}_{name}-{moment}"
    known = await _slice(call, attempt, stream, 0, 0)
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    headers = (
        (b"content-type", kind.encode()),
        (b"content-disposition", f"attachment; filename={shown}".encode()),
    )
    engine = call.cluster.engine
    download = LogDownload(engine.logs, attempt, stream, (0, known.size), 200, headers)
    return WhileValid(engine.clock, call.caller, download)


async def _resolve(call: Call) -> tuple[Task, Attempt | None] | None:
    """The task and its last attempt, if it has one; None for an unknown task."""
    app, name = call.path("app"), call.path("name")
    task = await find(call, app, name)
    if task is None:
        return None
    try:
        return task, await call.cluster.engine.logs.resolve(call.caller, task.id, None)
    except NotFound:
        return task, None


def _file(call: Call, task: Task, attempt: Attempt | None) -> tuple[Stream, Attempt]:
    """Which stream a file stands for. Raises :class:`LogNotFound` if there is no such file."""
    name = _base_name(call.path("file"))
    stream = _files(task).get(name)
    if stream is None or attempt is None:
        raise LogNotFound(f"file {name} does not exist")
    return stream, attempt


async def _slice(
    call: Call, attempt: Attempt, stream: Stream, offset: int, length: int
) -> LogSlice:
    try:
        return await call.cluster.engine.logs.slice(attempt, stream, offset, length)
    except StoreDamaged as error:
        raise LogDamaged(str(error)) from error


def _files(task: Task) -> dict[str, Stream]:
    work = task.spec.work
    if isinstance(work, Container) and work.merge_output:
        return {LIVE: Stream.STDOUT}
    return {LIVE: Stream.STDOUT, STDERR: Stream.STDERR}


def _base_name(file: str) -> str:
    """The last part of a path, whatever slashes it was written with."""
    return posixpath.basename(file.replace("\\", "/"))


def _first_character(data: bytes) -> bytes:
    for size in range(1, len(data) + 1):
        try:
            data[:size].decode()
        except UnicodeDecodeError:
            continue
        return data[:size]
    return data[:1]
