"""The tasks of a workspace, in the order of the contract."""

import re
from contextlib import aclosing
from typing import Final

import msgspec

from taskyard.core.errors import NotFound
from taskyard.core.instants import rfc3339
from taskyard.core.resources import Capacity
from taskyard.dialects.gx.dialect import PUBLIC, Gx, GxCall
from taskyard.dialects.gx.errors import BAD_ID, refused
from taskyard.dialects.gx.mapping import NUMBER, check, detail_of, draw, spec_of, task_answer
from taskyard.dialects.gx.schemas import (
    CreatedAnswer,
    DetailAnswer,
    StatsAnswer,
    SubmittedTask,
)
from taskyard.dialects.http.answers import JSON, TEXT, Answer, json_answer, no_content
from taskyard.dialects.http.dialect import Call
from taskyard.dialects.http.requests import decode_json
from taskyard.dialects.http.routes import Routes
from taskyard.ports.logs import Stream
from taskyard.services.tasks.followed import Output

BODY_BYTES: Final = 1 << 20
LOG_BYTES: Final = 1 << 20
_NUMBER: Final = re.compile(r"[0-9]+\Z", re.ASCII)
_decoder: Final = msgspec.json.Decoder(SubmittedTask)

routes = Routes[GxCall, bool](access=False)


@routes.get("/tasks")
async def list_tasks(call: GxCall) -> Answer:
    """Section 3.1: the list, as the stream shows it."""
    shown = await call.engine.lists.look(call.workspace.key)
    return Answer(200, b'{"tasks":' + call.dialect.snapshots.of(shown).json + b"}", (JSON,))


@routes.post("/tasks")
async def create(call: GxCall) -> Answer:
    """Section 3.2: create a task."""
    body = await call.read(BODY_BYTES)
    wire: SubmittedTask = decode_json(_decoder, body) if body.strip() else SubmittedTask()
    allowed = call.dialect.settings.allow_command
    may = call.context.dev if allowed is None else allowed
    work = check(
        wire, call.dialect.settings, may_command=may, may_image=may and _runs_containers(call)
    )
    size = call.dialect.settings.size(wire.type or "")
    simulated_s, largest = draw(size), _largest(call)
    entry = await call.engine.lists.add(
        call.caller,
        call.workspace.key,
        spec_of(wire, call.workspace, size, work, simulated_s, largest),
        NUMBER,
    )
    answer = task_answer(entry)
    # It may run by now; a create is always answered as it was accepted.
    answer.status = "queued"
    return json_answer(CreatedAnswer(answer))


@routes.post("/tasks/flush")
async def flush(call: GxCall) -> Answer:
    """Section 3.4: what was dispatched goes from the list."""
    cancel = call.parameters().get("cancel", "").strip().lower() in {"true", "1"}
    await call.engine.lists.flush(call.caller, call.workspace.key, cancel=cancel)
    return no_content()


@routes.delete("/tasks/{number}")
async def delete(call: GxCall) -> Answer:
    """Section 3.3: a task that still waits is taken back."""
    number = _number(call)
    await call.engine.lists.withdraw(call.caller, call.workspace.key, number)
    return no_content()


@routes.get("/tasks/{number}")
async def show(call: GxCall) -> Answer:
    """Section 7: one task with all that is known of it."""
    number = _number(call)
    engine = call.engine
    task = await engine.lists.task(call.workspace.key, number)
    attempts = await engine.tasks.attempts(call.caller, task.id)
    last = attempts[-1] if attempts else None
    return json_answer(DetailAnswer(detail_of(number, task, last)))


@routes.get("/tasks/{number}/logs")
async def logs(call: GxCall) -> Answer:
    """Section 7: the last of what the work has written."""
    engine = call.engine
    task = await engine.lists.task(call.workspace.key, _number(call))
    try:
        attempt = await engine.logs.resolve(call.caller, task.id, None)
    except NotFound:
        return Answer(200, b"", (TEXT,))  # it has not run yet
    known = [await engine.logs.slice(attempt, stream, 0, 0) for stream in Stream]
    stdout, stderr = (max(0, one.size - LOG_BYTES) for one in known)
    written = b""
    follow = engine.follow.follow(call.caller, task.id, attempt.number, stdout, stderr, wait=False)
    async with aclosing(follow) as items:
        async for item in items:
            if isinstance(item, Output):
                written = (written + item.data)[-LOG_BYTES:]
    text = written.decode(errors="replace").encode()
    return Answer(200, text, (TEXT,))


@routes.get("/stats", PUBLIC)
async def stats(call: Call[Gx]) -> Answer:
    """When the service began, and what time it is."""
    now = call.engine.clock.now()
    return json_answer(StatsAnswer(rfc3339(call.dialect.started_at), rfc3339(now)))


def _runs_containers(call: GxCall) -> bool:
    return any("container" in record.runtimes for record, _ in call.engine.dispatch.workers())


def _largest(call: GxCall) -> Capacity | None:
    """The most that any worker has; None while none is here."""
    totals = [record.capacity for record, _ in call.engine.dispatch.workers()]
    if not totals:
        return None
    return Capacity(
        slots=1,
        cpu_millis=max(one.cpu_millis for one in totals),
        memory_bytes=max(one.memory_bytes for one in totals),
    )


def _number(call: GxCall) -> int:
    """The task's number in the path. Raises ``Refused``."""
    text = call.path("number")
    # No number that large has more digits than this, leading zeros aside.
    digits = text.lstrip("0")
    if not _NUMBER.match(text) or len(digits) > 20 or int(digits or "0") >= 1 << 64:
        raise refused(BAD_ID)
    return int(digits or "0")
