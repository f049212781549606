"""Schedules: functions that are called by a rule."""

import base64
import re
from typing import Any, Final

from msgspec.structs import replace

from taskyard.core.cron import check_cron
from taskyard.core.errors import InvalidInput
from taskyard.core.functions.invocations import CallOrigin
from taskyard.core.functions.resources import Schedule, new_id
from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.greencloud.invocations import check_running
from taskyard.dialects.greencloud.mapping import schedule_object
from taskyard.dialects.greencloud.schemas import Members, created, json_document, page_answer
from taskyard.dialects.http.answers import Answer, no_content
from taskyard.dialects.http.routes import Routes
from taskyard.services.functions.triggers import request_of

DESCRIPTION_MOST: Final = 256
_RULE: Final = re.compile(r"[\x20-\x7e]{1,256}\Z")
_VALUE: Final = r"(?:[0-9]{1,2}|[A-Za-z]{3})"
_PART: Final = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/[0-9]{{1,2}})?"
_FIELD: Final = re.compile(rf"{_PART}(?:,{_PART})*\Z")
_FIVE: Final = "needs five fields: minute hour day month weekday"

routes = Routes[Call, bool](access=False)


@routes.post("/v1/scheduled")
async def create(call: Call) -> Answer:
    """``POST /v1/scheduled``."""
    members = await call.members()
    key = members.text(
        "functionId", re.compile(r"(?s).*\Z"), "has to be the id of a function", required=True
    )
    members.text("cron", _RULE, _FIVE, required=True)
    members.text("timezone", _RULE, "has to be the name of a time zone", required=True)
    given = _given(members, "UTC")
    function = await call.function(str(key))
    now = call.engine.clock.now()
    schedule = Schedule(
        id=new_id(now),
        workspace=call.caller.workspace,
        created_at=now,
        function_id=function.id,
        **given,
    )
    await call.engine.function_resources.add(call.caller, replace(schedule, active=True))
    return created(schedule.id)


@routes.patch("/v1/scheduled/{id}")
async def edit(call: Call) -> Answer:
    """``PATCH /v1/scheduled/{id}``."""
    schedule = await _find(call)
    given = _given(await call.members(), schedule.timezone, schedule.cron)
    await call.engine.function_resources.replace(call.caller, replace(schedule, **given), schedule)
    return no_content()


@routes.get("/v1/scheduled/{id}")
async def show(call: Call) -> Answer:
    """``GET /v1/scheduled/{id}``."""
    schedule = await _find(call)
    payload = {
        "query": schedule.query,
        "body": base64.b64encode(schedule.body).decode(),
        "contentType": schedule.content_type,
    }
    return json_document({**schedule_object(schedule), "inlinePayload": payload})


@routes.get("/v1/scheduled/list")
async def list_schedules(call: Call) -> Answer:
    """``GET /v1/scheduled/list``."""
    wanted, found, total = await call.page_of(Schedule, by_timezone=True)
    return page_answer(wanted, total, [{"id": one.id, **schedule_object(one)} for one in found])


@routes.put("/v1/scheduled/{id}/payload")
async def set_payload(call: Call) -> Answer:
    """``PUT /v1/scheduled/{id}/payload``."""
    schedule = await _find(call)
    body = await call.read(call.dialect.settings.max_body_bytes)
    changed = replace(
        schedule,
        query=call.scope["query_string"].decode("latin-1"),
        body=body,
        content_type=call.header(b"content-type") or "",
    )
    await call.engine.function_resources.replace(call.caller, changed, schedule)
    return no_content()


@routes.post("/v1/scheduled/{id}/try")
async def try_now(call: Call) -> Answer:
    """``POST /v1/scheduled/{id}/try``."""
    schedule = await _find(call)
    function = await call.function(schedule.function_id)
    check_running(function)
    invocations = call.engine.invocations
    origin = CallOrigin(schedule_id=schedule.id)
    prepared = await invocations.prepare(
        call.caller, function.id, request_of(schedule), origin, call.quota()
    )
    return created((await invocations.issue(prepared)).id)


@routes.delete("/v1/scheduled/{id}")
async def delete(call: Call) -> Answer:
    """``DELETE /v1/scheduled/{id}``."""
    await call.engine.function_resources.remove(call.caller, await _find(call))
    return no_content()


async def _find(call: Call) -> Schedule:
    return await call.engine.function_resources.get(call.caller, Schedule, call.path("id"))


def _given(members: Members, zone: str, rule: str = "") -> dict[str, Any]:
    """What was sent, by the names of the record. Raises ``Refused``."""
    given: dict[str, Any] = {"description": members.printable("description", DESCRIPTION_MOST)}
    for name in ("cron", "timezone"):
        if name not in members.wrong:
            given[name] = members.text(name, _RULE, "has to be text")
    if "active" in members:
        value = members.raw("active")
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value)
        given["active"] = value
        if not isinstance(value, bool):
            members.wrong["active"] = "has to be true or false"
    try:
        cron = given.get("cron") or rule
        if given.get("cron") and not all(_FIELD.match(one) for one in cron.split()):
            members.wrong["cron"] = _FIVE
        elif cron:
            check_cron(cron, given.get("timezone") or zone)
    except InvalidInput as error:
        members.wrong[error.field] = error.problem
    members.done()
    return {name: value for name, value in given.items() if value is not None}
