"""The routes about output: no envelope, byte offsets."""

import mimetypes
import posixpath
from datetime import UTC, datetime
from typing import Final

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from taskyard.core.access.principals import Caller
from taskyard.core.attempts import Attempt
from taskyard.core.errors import NotFound
from taskyard.core.tasks import Container, Task
from taskyard.dialects.drove.callers import ALL, LOG_READERS
from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.downloads import Download
from taskyard.dialects.drove.errors import LogFailed, plain
from taskyard.dialects.drove.requests import Connection, number, parameters, route, text_in_path
from taskyard.dialects.drove.routes_tasks import find
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.streams import WhileValid
from taskyard.ports.logs import Stream
from taskyard.services.tasks.log_text import unfinished
from taskyard.services.tasks.logs import LARGEST_SLICE_BYTES, LogSlice

LIVE: Final = "output.log"
STDERR: Final = "output.log-stderr"
"""Of a task that came another way and keeps its outputs apart."""
CHUNK_BYTES: Final = 32_768
_CHARACTER_BYTES: Final = 4


class LogRoutes:
    """The handlers, with what they work with."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def handlers(self) -> list[HTTPRouteHandler]:
        """All of them."""
        cluster, base = self._cluster, "/logfiles/tasks/{app:str}/{name:str}"
        roles = ALL if cluster.settings.open_logs else LOG_READERS
        read = ["GET", "HEAD"]
        return [
            route(cluster, f"{base}/list", read, roles, self.list_files),
            route(cluster, f"{base}/read/{{file:str}}", read, roles, self.read),
            route(cluster, f"{base}/download/{{file:str}}", read, roles, self.download),
        ]

    async def list_files(self, request: Connection, caller: Caller) -> Answer:
        """The names of the files there are."""
        found = await self._resolve(request, caller)
        if found is None:
            return Answer(204)
        task, attempt = found
        if attempt is None:
            return plain({"files": []})
        return plain({"files": list(_files(task))})

    async def read(self, request: Connection, caller: Caller) -> Answer:
        """A chunk of a file, cut where a character ends."""
        offset = number(request, "offset", -1, -1)
        length = number(request, "length", -1, -1)
        found = await self._resolve(request, caller)
        if found is None:
            return Answer(204)
        stream, attempt = self._file(request, *found)
        if offset == -1:
            known = await self._slice(attempt, stream, 0, 0)
            return plain({"data": "", "offset": known.size})
        wanted = min(CHUNK_BYTES if length == -1 else length, LARGEST_SLICE_BYTES)
        piece = await self._slice(attempt, stream, offset, wanted)
        data = piece.data
        at_end = offset + len(data) >= piece.size
        rest = unfinished(data)
        if rest and rest < len(data) and not (at_end and piece.complete):
            data = data[:-rest]
        elif rest == len(data) and wanted and not at_end:
            # Less than a character was asked for: a whole one, so that its reader gets on.
            piece = await self._slice(attempt, stream, offset, _CHARACTER_BYTES)
            data = _first_character(piece.data)
        elif rest == len(data) and not piece.complete:
            data = b""  # its rest is not written yet
        return plain({"data": data.decode(errors="replace"), "offset": offset})

    async def download(self, request: Connection, caller: Caller) -> ASGIApp:
        """A whole file, as it is."""
        found = await self._resolve(request, caller)
        if found is None:
            return Answer(204)
        stream, attempt = self._file(request, *found)
        name = _base_name(text_in_path(request, "file"))
        shown = name
        asked = dict(parameters(request)).get("rename", "false").strip().lower()
        if asked == "true":
            app, task = text_in_path(request, "app"), text_in_path(request, "name")
            moment = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
            shown = f"{app}_{task}_{name}-{moment}"
        known = await self._slice(attempt, stream, 0, 0)
        headers = {
            "content-type": mimetypes.guess_type(name)[0] or "text/plain",
            "content-disposition": f"attachment; filename={shown}",
        }
        engine = self._cluster.engine
        download = Download(engine.logs, attempt, stream, known.size, headers)
        return WhileValid(engine.clock, caller, download)

    async def _resolve(
        self, request: Connection, caller: Caller
    ) -> tuple[Task, Attempt | None] | None:
        """The task and its last attempt, if it has one; None for an unknown task."""
        app, name = text_in_path(request, "app"), text_in_path(request, "name")
        task = await find(self._cluster, caller, app, name)
        if task is None:
            return None
        try:
            return task, await self._cluster.engine.logs.resolve(caller, task.id, None)
        except NotFound:
            return task, None

    def _file(
        self, request: Connection, task: Task, attempt: Attempt | None
    ) -> tuple[Stream, Attempt]:
        """Which stream a file stands for. Raises :class:`LogFailed` if there is no such file."""
        name = _base_name(text_in_path(request, "file"))
        stream = _files(task).get(name)
        if stream is None or attempt is None:
            raise LogFailed(f"file {name} does not exist")
        return stream, attempt

    async def _slice(self, attempt: Attempt, stream: Stream, offset: int, length: int) -> LogSlice:
        return await self._cluster.engine.logs.slice(attempt, stream, offset, length)


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
