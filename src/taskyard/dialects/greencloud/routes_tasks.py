"""Tasks: look, list, results, and the create of the first generation."""

import base64
import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from litestar.types import ASGIApp

from taskyard.core.functions.functions import CallRequest
from taskyard.core.functions.invocations import CallOrigin, InvocationView
from taskyard.core.instants import DAY, Instant, from_datetime
from taskyard.dialects.greencloud.dialect import ID, Call
from taskyard.dialects.greencloud.errors import invalid, unknown
from taskyard.dialects.greencloud.invocations import answered, check_running, issue
from taskyard.dialects.greencloud.mapping import rfc3339, status_of, task_line, task_object
from taskyard.dialects.greencloud.results import result_answer
from taskyard.dialects.greencloud.schemas import created, json_document, members_of
from taskyard.dialects.greencloud.streaming import Pieces, json_array, streamed
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.routes import Routes
from taskyard.services.functions.calls import CallFailed, FunctionNotReady

AT_ONCE: Final = 500
_ANYTHING: Final = re.compile(r"(?s).*\Z")
_CSV: Final = (b"content-type", b"text/csv; charset=utf-8")

routes = Routes[Call, bool](access=False)


async def own_view(call: Call) -> InvocationView:
    """The task in the path. Raises ``Refused`` (404), ``NotFound``."""
    key = call.path("id")
    if not ID.match(key):
        raise unknown("call", key)
    return await call.engine.invocations.own(call.caller, key)


@routes.get("/v1/task/{id}")
async def show(call: Call) -> Answer:
    """``GET /v1/task/{taskId}``."""
    return json_document(task_object(await own_view(call)))


@routes.get("/v1/task/{id}/result")
async def result(call: Call) -> Answer:
    """``GET /v1/task/{taskId}/result``."""
    return await result_answer(call.dialect, call.caller, await own_view(call))


@routes.get("/v1/task/list")
async def list_tasks(call: Call) -> ASGIApp:
    """``GET /v1/task/list``: all of them, unless a page is asked for."""
    wanted = await call.page_request()
    if wanted.paged:
        found = await call.engine.invocations.views(
            call.caller, wanted.function_id, offset=wanted.offset, limit=wanted.limit
        )
        return json_document([task_line(one) for one in found])
    pages = _pages(call, wanted.function_id)
    return await streamed(
        call, json_array([task_line(one) for one in page] async for page in pages)
    )


async def _pages(call: Call, function_id: str | None) -> AsyncIterator[list[InvocationView]]:
    """All tasks, oldest first, some at a time."""
    last: InvocationView | None = None
    while some := await call.engine.invocations.views(
        call.caller, function_id, after=last, limit=AT_ONCE
    ):
        last = some[-1]
        yield some


@routes.post("/v1/task/{id}")
async def create_task(call: Call) -> Answer:
    """``POST /v1/task/{functionId}``."""
    issued = await issue(call, call.caller, await call.function(), CallOrigin(), call.quota())
    return await answered(call, call.caller, issued) or created(issued.id)


@routes.post("/v1/task")
async def create_by_body(call: Call) -> Answer:
    """``POST /v1/task``, the create of the first generation."""
    limit = call.dialect.settings.max_body_bytes
    members = members_of(await call.read(limit * 2))
    key = members.raw("functionId") if "functionId" in members else members.raw("lambdaId")
    timeout = members.number("timeout", 10, 120)
    payload = members.text("inlinePayload", _ANYTHING, "has to be text")
    if not isinstance(key, str):
        members.wrong["functionId"] = "is required"
    members.done()
    function = await call.function(str(key))
    check_running(function)
    if function.live_version is None:
        raise FunctionNotReady(f"function {function.id} has no deployed code")
    allowances = call.quota()
    request = CallRequest(
        body=(payload or "").encode(errors="replace"),
        host=call.header(b"host") or "",
    )
    invocations = call.engine.invocations
    prepared = await invocations.prepare(
        call.caller, function.id, request, CallOrigin(), allowances, timeout
    )
    return created((await invocations.issue(prepared)).id)


@routes.get("/v1/task/{id}/csv")
async def as_csv(call: Call) -> ASGIApp:
    """``GET /v1/task/{functionId}/csv``: the results of a function's finished tasks."""
    function = await call.function()
    query = call.parameters()
    since, until = _day(query, "dateSince"), _day(query, "dateUntil")
    plain = query.get("showPlain", "false").lower() == "true"
    origin = query.get("scheduledId")

    def is_wanted(view: InvocationView) -> bool:
        issued_at = view.call.issued_at
        return (
            view.is_over
            and (since is None or issued_at >= since)
            and (until is None or issued_at < until + DAY)
            and origin in {None, view.call.origin.schedule_id}
        )

    async def lines() -> Pieces:
        yield _csv_line("ID", "IssuedAt", "Status", "ContentType", "Body")
        async for page in _pages(call, function.id):
            for view in filter(is_wanted, page):
                kind, body = await _content(call, view)
                shown = body.decode(errors="replace") if plain else base64.b64encode(body).decode()
                issued_at = rfc3339(view.call.issued_at)
                yield _csv_line(view.call.id, issued_at, str(status_of(view)), kind, shown)

    return await streamed(call, lines(), _CSV)


async def _content(call: Call, view: InvocationView) -> tuple[str, bytes]:
    """Content type and body that a task answered with; both empty if it failed."""
    try:
        answer = await call.engine.invocations.result(call.caller, view)
    except CallFailed:
        return "", b""
    kind = next((value for name, value in answer.headers if name.lower() == "content-type"), "")
    return kind, answer.body or b""


def _csv_line(*values: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().encode(errors="replace")


def _day(query: dict[str, str], name: str) -> Instant | None:
    if name not in query:
        return None
    try:
        found = datetime.strptime(query[name], "%Y-%m-%d").replace(tzinfo=UTC)
        return from_datetime(found + timedelta(0))
    except ValueError as error:
        raise invalid({name: "has to be a date, YYYY-MM-DD"}) from error
