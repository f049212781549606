"""Triggers: call another function after the tasks of one."""

from typing import Any, Final

from msgspec.structs import replace

from taskyard.core.functions.functions import FunctionId
from taskyard.core.functions.resources import Trigger, new_id
from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.greencloud.mapping import trigger_object
from taskyard.dialects.greencloud.schemas import Members, created, json_document, page_answer
from taskyard.dialects.http.answers import Answer, no_content
from taskyard.dialects.http.routes import Routes

DESCRIPTION_MOST: Final = 256
_STATUS: Final = "has to be a whole number from 100 to 599, or 0"

routes = Routes[Call, bool](access=False)


@routes.post("/v1/trigger")
async def create(call: Call) -> Answer:
    """``POST /v1/trigger``."""
    members = await call.members()
    wanted = [_text(members, name) for name in ("functionId", "nextId")]
    members.boolean("includeResult", required=True)
    given = await _given(call, members)
    first, following = [(await call.function(one)).id for one in wanted]
    now = call.engine.clock.now()
    trigger = Trigger(
        id=new_id(now),
        workspace=call.caller.workspace,
        created_at=now,
        function_id=first,
        next_id=FunctionId(following),
        include_result=bool(given.pop("include_result")),
    )
    await call.engine.function_resources.add(call.caller, replace(trigger, **given))
    return created(trigger.id)


@routes.get("/v1/trigger/{id}")
async def show(call: Call) -> Answer:
    """``GET /v1/trigger/{id}``."""
    trigger = await _find(call)
    return json_document(trigger_object(trigger, await call.tags_of(trigger)))


@routes.get("/v1/trigger/list")
async def list_triggers(call: Call) -> Answer:
    """``GET /v1/trigger/list``."""
    wanted, found, total = await call.page_of(Trigger)
    tags = await call.tags_of(*found)
    return page_answer(
        wanted, total, [{"id": one.id, **trigger_object(one, tags)} for one in found]
    )


@routes.patch("/v1/trigger/{id}")
async def edit(call: Call) -> Answer:
    """``PATCH /v1/trigger/{id}``."""
    trigger = await _find(call)
    given = await _given(call, await call.members())
    await call.engine.function_resources.replace(call.caller, replace(trigger, **given), trigger)
    return no_content()


@routes.delete("/v1/trigger/{id}")
async def delete(call: Call) -> Answer:
    """``DELETE /v1/trigger/{id}``."""
    await call.engine.function_resources.remove(call.caller, await _find(call))
    return no_content()


async def _find(call: Call) -> Trigger:
    return await call.engine.function_resources.get(call.caller, Trigger, call.path("id"))


def _text(members: Members, name: str) -> str:
    value = members.raw(name)
    if not isinstance(value, str):
        members.wrong[name] = "is required" if value is None else "has to be the id of a function"
        return ""
    return value


async def _given(call: Call, members: Members) -> dict[str, Any]:
    """What was sent, by the names of the record. Raises ``Refused``."""
    given: dict[str, Any] = {
        "include_result": members.boolean("includeResult")
        if "includeResult" not in members.wrong
        else None,
        "description": members.printable("description", DESCRIPTION_MOST),
        "tags": await call.given_tags(members),
    }
    found = {name: value for name, value in given.items() if value is not None}
    status = members.number("status", 0, 599, low=_STATUS)
    if status is not None:
        if 0 < status < 100:
            members.wrong["status"] = _STATUS
        found["status"] = status or None
    members.done()
    return found
