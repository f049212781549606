"""The HTTP routes, in the order of the contract."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import Request, Router
from litestar.handlers import HTTPRouteHandler

from taskyard.core.errors import NotFound
from taskyard.core.instants import from_datetime, rfc3339
from taskyard.core.resources import Capacity
from taskyard.dialects.gx.boards import AllSnapshots
from taskyard.dialects.gx.errors import (
    BAD_BODY,
    BAD_ID,
    BAD_REQUEST,
    Refusal,
    answer_of,
    decoding_failed,
)
from taskyard.dialects.gx.mapping import NUMBER, check, detail_of, draw, spec_of, task_answer
from taskyard.dialects.gx.schemas import (
    CreatedAnswer,
    DetailAnswer,
    StatsAnswer,
    SubmittedTask,
)
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.gx.workspaces import Workspace, enter
from taskyard.dialects.http.answers import Answer, json_answer, no_content
from taskyard.dialects.http.bodies import read_body
from taskyard.dialects.http.host import Host
from taskyard.dialects.http.peers import address_of
from taskyard.dialects.http.refusals import note_refusal
from taskyard.ports.logs import Stream

BODY_BYTES: Final = 1 << 20
LOG_BYTES: Final = 1 << 20
_JSON: Final = (b"content-type", b"application/json")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_NUMBER: Final = re.compile(r"[0-9]+\Z", re.ASCII)
_decoder: Final = msgspec.json.Decoder(SubmittedTask)

Connection = Request[Any, Any, Any]
Method = Callable[[Connection, Workspace], Awaitable[Answer]]


class Routes:
    """The handlers, with what they work with."""

    def __init__(self, host: Host, settings: GxSettings, snapshots: AllSnapshots) -> None:
        self._host = host
        self._settings = settings
        self._started_at = _now()
        self._snapshots = snapshots

    def router(self) -> Router:
        """All of them, below the root."""
        read, post, delete = ["GET", "HEAD"], ["POST"], ["DELETE"]
        return Router(
            "/",
            route_handlers=[
                self._route("/tasks", read, self.list_tasks),
                self._route("/tasks", post, self.create),
                self._route("/tasks/flush", post, self.flush),
                self._route("/tasks/{number:str}", delete, self.delete),
                self._route("/tasks/{number:str}", read, self.show),
                self._route("/tasks/{number:str}/logs", read, self.logs),
                self._route("/ws/tasks", read, self.no_upgrade),
                HTTPRouteHandler("/stats", http_method=["GET", "HEAD"])(self._stats_handler()),
            ],
        )

    def _route(self, path: str, methods: list[Any], method: Method) -> HTTPRouteHandler:
        async def handle(request: Connection) -> Answer:
            workspace: Workspace | None = None
            try:
                workspace = await enter(
                    self._host.engine,
                    self._settings,
                    request.scope["query_string"],
                    address_of(request.scope),
                )
                return await method(request, workspace)
            except Exception as error:  # noqa: BLE001 - the top of a request
                if workspace is not None:
                    engine, caller = self._host.engine, workspace.caller
                    await note_refusal(engine, "gx", caller, request.scope, error)
                return answer_of(error)

        return HTTPRouteHandler(path, http_method=methods, status_code=200)(handle)

    async def list_tasks(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 3.1: the list, as the stream shows it."""
        del request
        shown = await self._host.engine.lists.look(workspace.key)
        return Answer(200, b'{"tasks":' + self._snapshots.of(shown).json + b"}", (_JSON,))

    async def create(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 3.2: one more task."""
        body = await read_body(
            request.scope, request.receive, BODY_BYTES, workspace.caller.workspace
        )
        wire = _decoded(body)
        allowed = self._settings.allow_command
        may = self._host.dev if allowed is None else allowed
        work = check(
            wire, self._settings, may_command=may, may_image=may and self._runs_containers()
        )
        size = self._settings.size(wire.type or "")
        simulated_s, largest = draw(size), self._largest()
        entry = await self._host.engine.lists.add(
            workspace.caller,
            workspace.key,
            spec_of(wire, workspace, size, work, simulated_s, largest),
            NUMBER,
        )
        answer = task_answer(entry)
        # It may run by now; a create is always answered as it was accepted.
        answer.status = "queued"
        return json_answer(CreatedAnswer(answer))

    async def flush(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 3.4: what was dispatched goes from the list."""
        del request
        cancel = workspace.query.get("cancel", "").strip().lower() in {"true", "1"}
        await self._host.engine.lists.flush(workspace.caller, workspace.key, cancel=cancel)
        return no_content()

    async def delete(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 3.3: a task that still waits is taken back."""
        number = _number(request)
        await self._host.engine.lists.withdraw(workspace.caller, workspace.key, number)
        return no_content()

    async def show(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 7: one task with all that is known of it."""
        number = _number(request)
        engine = self._host.engine
        task = await engine.lists.task(workspace.key, number)
        attempts = await engine.tasks.attempts(workspace.caller, task.id)
        last = attempts[-1] if attempts else None
        return json_answer(DetailAnswer(detail_of(number, task, last)))

    async def logs(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 7: the last of what the work has written."""
        engine = self._host.engine
        task = await engine.lists.task(workspace.key, _number(request))
        try:
            attempt = await engine.logs.resolve(workspace.caller, task.id, None)
        except NotFound:
            return Answer(200, b"", (_TEXT,))  # it has not run yet
        # Commands have both in one, in order; of a container, nobody knows the order.
        written = b""
        for stream in Stream:
            known = await engine.logs.slice(attempt, stream, 0, 0)
            offset = max(0, known.size - LOG_BYTES)
            written += (await engine.logs.slice(attempt, stream, offset, LOG_BYTES)).data
        text = written[-LOG_BYTES:].decode(errors="replace").encode()
        return Answer(200, text, (_TEXT,))

    async def no_upgrade(self, request: Connection, workspace: Workspace) -> Answer:
        """Section 4: the stream's path, asked for without the headers of an upgrade."""
        del request, workspace
        raise Refusal(BAD_REQUEST)

    def _stats_handler(self) -> Callable[[], Awaitable[Answer]]:
        async def stats() -> Answer:
            return json_answer(StatsAnswer(self._started_at, _now()))

        return stats

    def _runs_containers(self) -> bool:
        return any(
            "container" in record.runtimes for record, _ in self._host.engine.dispatch.workers()
        )

    def _largest(self) -> Capacity | None:
        """The most that any worker has; None while none is here."""
        totals = [record.capacity for record, _ in self._host.engine.dispatch.workers()]
        if not totals:
            return None
        return Capacity(
            slots=1,
            cpu_millis=max(one.cpu_millis for one in totals),
            memory_bytes=max(one.memory_bytes for one in totals),
        )


def _decoded(body: bytes) -> SubmittedTask:
    if not body.strip():
        return SubmittedTask()
    try:
        return _decoder.decode(body)
    except Exception as error:
        if decoding_failed(error):
            raise Refusal(BAD_BODY) from error
        raise


def _number(request: Connection) -> int:
    """The task's number in the path. Raises ``Refusal``."""
    text = str(request.scope["path_params"]["number"])
    # No number that large has more digits than this, leading zeros aside.
    digits = text.lstrip("0")
    if not _NUMBER.match(text) or len(digits) > 20 or int(digits or "0") >= 1 << 64:
        raise Refusal(BAD_ID)
    return int(digits or "0")


def _now() -> str:
    return rfc3339(from_datetime(datetime.now(UTC)))
