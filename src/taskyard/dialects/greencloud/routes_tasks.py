"""Tasks: look, list, results, and the create of the first generation."""

import base64
import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from taskyard.core.functions import CallRequest
from taskyard.core.instants import Instant, from_datetime
from taskyard.core.issued import CallOrigin, CallView
from taskyard.dialects.greencloud.call import ID, Call, created, json
from taskyard.dialects.greencloud.errors import invalid, unknown
from taskyard.dialects.greencloud.fields import members_of
from taskyard.dialects.greencloud.headers import header_of
from taskyard.dialects.greencloud.issuing import check_running
from taskyard.dialects.greencloud.mapping import status_of, task_line, task_object
from taskyard.dialects.greencloud.pages import asked
from taskyard.dialects.greencloud.results import result_answer
from taskyard.dialects.greencloud.times import rfc3339
from taskyard.dialects.http.answers import Answer
from taskyard.services.calls import CallFailed, FunctionNotReady

AT_ONCE: Final = 500
_ANYTHING: Final = re.compile(r"(?s).*\Z")
_CSV: Final = (b"content-type", b"text/csv; charset=utf-8")


async def own_view(call: Call) -> CallView:
    """The task in the path. Raises ``Refusal`` (404), ``NotFound``."""
    key = call.path("id")
    if not ID.match(key):
        raise unknown("call", key)
    return await call.engine.issuing.own(call.caller, key)


async def show(call: Call) -> Answer:
    """``GET /v1/task/{taskId}``."""
    return json(task_object(await own_view(call)))


async def result(call: Call) -> Answer:
    """``GET /v1/task/{taskId}/result``."""
    return await result_answer(call.engine, call.caller, await own_view(call))


async def list_tasks(call: Call) -> Answer:
    """``GET /v1/task/list``: all of them, unless a page is asked for."""
    query = call.query()
    wanted = await asked(call, 999)
    lines = [task_line(one) for one in await _all(call, query.get("functionId"))]
    if "page" in query or "limit" in query:
        lines = lines[wanted.offset : wanted.offset + wanted.limit]
    return json(lines)


async def _all(call: Call, function_id: str | None) -> list[CallView]:
    found: list[CallView] = []
    while True:
        after = found[-1].seq if found else 0
        some = await call.engine.issuing.views(call.caller, function_id, after, AT_ONCE)
        found += some
        if len(some) < AT_ONCE:
            return found


async def create_by_body(call: Call) -> Answer:
    """``POST /v1/task``, the create of the first generation."""
    limit = call.greencloud.settings.max_body_bytes
    members = members_of(await call.body(limit * 2))
    key = members.raw("functionId") if "functionId" in members else members.raw("lambdaId")
    timeout = members.number("timeout", 10, 120)
    payload = members.text("inlinePayload", _ANYTHING, "has to be text")
    if not isinstance(key, str):
        members.wrong["functionId"] = "is required"
    members.done()
    function = call.function(str(key))
    check_running(function)
    if function.live_version is None:
        raise FunctionNotReady(f"function {function.id} has no deployed code")
    allowances = call.quota()
    request = CallRequest(
        body=(payload or "").encode(errors="replace"),
        host=header_of(call.scope, b"host") or "",
    )
    issuing = call.engine.issuing
    prepared = issuing.prepare(call.caller, function.id, request, CallOrigin(), allowances, timeout)
    return created((await issuing.issue(prepared)).id)


async def as_csv(call: Call) -> Answer:
    """``GET /v1/task/{functionId}/csv``: the results of a function's finished tasks."""
    function = call.function()
    query = call.query()
    since, until = _day(query, "dateSince"), _day(query, "dateUntil")
    plain = query.get("showPlain", "false").lower() == "true"
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow(("ID", "IssuedAt", "Status", "ContentType", "Body"))
    for view in await _all(call, function.id):
        issued_at = view.call.issued_at
        if not view.is_over or (since is not None and issued_at < since):
            continue
        if until is not None and issued_at >= until + 86_400_000_000:
            continue
        if query.get("scheduledId") not in {None, view.call.origin.schedule_id}:
            continue
        try:
            answer = await call.engine.issuing.result(call.caller, view)
            kind = next((v for name, v in answer.headers if name.lower() == "content-type"), "")
            body = answer.body or b""
        except CallFailed:
            kind, body = "", b""
        shown = body.decode(errors="replace") if plain else base64.b64encode(body).decode()
        lines.writerow((view.call.id, rfc3339(issued_at), status_of(view), kind, shown))
    return Answer(200, text.getvalue().encode(errors="replace"), (_CSV,))


def _day(query: dict[str, str], name: str) -> Instant | None:
    if name not in query:
        return None
    try:
        found = datetime.strptime(query[name], "%Y-%m-%d").replace(tzinfo=UTC)
        return from_datetime(found + timedelta(0))
    except ValueError as error:
        raise invalid({name: "has to be a date, YYYY-MM-DD"}) from error
