"""Functions: create, look, list, edit, pause, delete, restore, capabilities."""

import re
from collections.abc import AsyncIterator
from typing import Any, Final

from litestar.types import ASGIApp
from msgspec.structs import replace

from taskyard.core.functions.functions import Function, FunctionId, Limits
from taskyard.core.functions.resources import new_id
from taskyard.dialects.greencloud.dialect import ID, Call
from taskyard.dialects.greencloud.errors import unknown
from taskyard.dialects.greencloud.mapping import (
    LANGUAGES,
    MIB,
    function_capabilities,
    function_line,
    function_object,
)
from taskyard.dialects.greencloud.schemas import created, json_document
from taskyard.dialects.greencloud.streaming import json_array, streamed
from taskyard.dialects.http.answers import Answer, no_content
from taskyard.dialects.http.routes import Routes
from taskyard.ports.functions import FunctionChange

AT_ONCE: Final = 500
SECOND_DIGITS: Final = 8
"""Of an id: those that tell when it was made."""
_NAME: Final = re.compile(r"[A-Za-z0-9]{1,128}\Z", re.ASCII)
_NAME_RULE: Final = "needs 1 to 128 ASCII letters and digits"
_LANG: Final = re.compile(rf"(?:{'|'.join(LANGUAGES)})\Z")
_TYPE: Final = re.compile(r"DOCKER\Z")
DESCRIPTION_MOST: Final = 80
DEFAULTS: Final = Limits(timeout_s=10.0)

routes = Routes[Call, bool](access=False)


@routes.post("/v1/function")
async def create(call: Call) -> Answer:
    """``POST /v1/function``."""
    members = await call.members()
    name = members.text("name", _NAME, _NAME_RULE, required=True)
    description = members.printable("description", DESCRIPTION_MOST)
    tags = await call.given_tags(members)
    lang = members.text("lang", _LANG, f"has to be one of {' '.join(LANGUAGES)}", required=True)
    members.text("type", _TYPE, "has to be DOCKER", required=True)
    members.done()
    now = call.engine.clock.now()
    function_id = FunctionId(new_id(now))
    await call.engine.functions.create(
        call.caller,
        Function(
            id=function_id,
            workspace=call.caller.workspace,
            name=function_id,  # names of functions need not be unique here
            language=LANGUAGES[str(lang)],
            created_at=now,
            updated_at=now,
            title=str(name),
            description=description or "",
            tags=tags or (),
            limits=DEFAULTS,
        ),
    )
    return created(function_id)


@routes.get("/v1/function/{id}")
async def show(call: Call) -> Answer:
    """``GET /v1/function/{id}``."""
    function = await call.function()
    counts = await call.engine.invocations.counts(call.caller, function=function)
    return json_document(function_object(function, await call.tags_of(function), counts))


@routes.get("/v1/function/list")
async def list_functions(call: Call) -> ASGIApp:
    """``GET /v1/function/list``: newest first."""
    tag = call.parameters().get("tag")
    if tag is not None and not await call.tags([tag]):
        return json_document([])
    return await streamed(call, json_array(_lines(call, tag)))


async def _lines(call: Call, tag: str | None) -> AsyncIterator[list[Any]]:
    """What the list shows, some at a time."""
    after: str | None = None
    waiting: list[Function] = []
    while some := await call.engine.functions.page(
        call.caller, after, AT_ONCE, tag=tag, newest_first=True
    ):
        after = some[-1].id
        # Ids tell the second, and no more: those of the last one wait for the rest of it.
        second = after[:SECOND_DIGITS]
        done = [one for one in some if one.id[:SECOND_DIGITS] != second]
        if done:
            yield await _shown(call, [*waiting, *done])
            waiting = []
        waiting += some[len(done) :]
    yield await _shown(call, waiting)


async def _shown(call: Call, functions: list[Function]) -> list[Any]:
    functions.sort(key=lambda one: one.created_at, reverse=True)
    tags = await call.tags_of(*functions)
    return [function_line(one, tags) for one in functions]


@routes.patch("/v1/function/{id}")
async def edit(call: Call) -> Answer:
    """``PATCH /v1/function/{id}``."""
    function = await call.function()
    members = await call.members()
    change = FunctionChange(
        title=members.text("name", _NAME, _NAME_RULE),
        description=members.printable("description", DESCRIPTION_MOST),
        tags=await call.given_tags(members),
    )
    members.done()
    if change != FunctionChange():
        await call.engine.functions.change(call.caller, function.id, change)
    return no_content()


@routes.post("/v1/function/{id}/togglePause")
async def toggle_pause(call: Call) -> Answer:
    """``POST /v1/function/{id}/togglePause``."""
    function = await call.function()
    await call.engine.functions.pause(call.caller, function.id, paused=not function.paused)
    return no_content()


@routes.delete("/v1/function/{id}")
async def delete(call: Call) -> Answer:
    """``DELETE /v1/function/{id}``."""
    await call.engine.function_resources.delete_function(call.caller, await call.function())
    return no_content()


@routes.post("/v1/function/{id}/restore")
async def restore(call: Call) -> Answer:
    """``POST /v1/function/{id}/restore``."""
    key = call.path("id")
    if not ID.match(key):
        raise unknown("function", key)
    await call.engine.functions.restore(call.caller, key)
    return no_content()


@routes.get("/v1/function/{id}/capabilities")
async def show_capabilities(call: Call) -> Answer:
    """``GET /v1/function/{id}/capabilities``."""
    return json_document(function_capabilities((await call.function()).limits))


@routes.post("/v1/function/{id}/capabilities")
async def set_capabilities(call: Call) -> Answer:
    """``POST /v1/function/{id}/capabilities``."""
    function = await call.function()
    members = await call.members()
    timeout = members.number("timeout", 10, 120)
    cores = members.number("cpuCount", 0, 4)
    memory = members.number("memSize", 0, 2048)
    name = "privileged" if "privileged" in members else "privilaged"
    privileged = members.boolean(name)
    members.done()
    limits = function.limits
    if timeout is not None:
        limits = replace(limits, timeout_s=float(timeout))
    if cores is not None:
        limits = replace(limits, cpu_millis=cores * 1000 or None)
    if memory is not None:
        limits = replace(limits, memory_bytes=memory * MIB or None)
    if privileged is not None:
        limits = replace(limits, privileged=privileged)
    if limits != function.limits:
        change = FunctionChange(limits=limits)
        await call.engine.functions.change(call.caller, function.id, change)
    return no_content()
