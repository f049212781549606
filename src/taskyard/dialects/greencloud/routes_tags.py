"""Tags, metrics and nodes."""

import re
from typing import Final

from litestar.types import ASGIApp
from msgspec.structs import replace

from taskyard.core.errors import NotFound
from taskyard.core.functions.resources import Node, Tag, new_id
from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.greencloud.errors import unknown
from taskyard.dialects.greencloud.mapping import node_object, tag_object
from taskyard.dialects.greencloud.schemas import created, json_document
from taskyard.dialects.greencloud.streaming import json_array, streamed
from taskyard.dialects.http.answers import Answer, no_content
from taskyard.dialects.http.routes import Routes

_TAG_NAME: Final = re.compile(r"[\x20-\x7e]{1,64}\Z")
_TAG_RULE: Final = "needs 1 to 64 printable ASCII characters"
_COLOR: Final = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})\Z")
_COLOR_RULE: Final = "has to be # and 3, 4, 6 or 8 hex digits"
_DEFAULT_COLOR: Final = "#00ff80"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")

routes = Routes[Call, bool](access=False)


@routes.post("/v1/tag")
async def create_tag(call: Call) -> Answer:
    """``POST /v1/tag``."""
    members = await call.members()
    name = members.text("name", _TAG_NAME, _TAG_RULE, required=True)
    color = members.text("color", _COLOR, _COLOR_RULE)
    members.done()
    now = call.engine.clock.now()
    tag = Tag(new_id(now), call.caller.workspace, now, str(name), color or _DEFAULT_COLOR)
    await call.engine.function_resources.add(call.caller, tag)
    return created(tag.id)


@routes.get("/v1/tag/list")
async def list_tags(call: Call) -> ASGIApp:
    """``GET /v1/tag/list``: oldest first."""
    pages = call.engine.function_resources.everything(call.caller, Tag)
    return await streamed(
        call, json_array([tag_object(one) for one in page] async for page in pages)
    )


@routes.patch("/v1/tag/{id}")
async def edit_tag(call: Call) -> Answer:
    """``PATCH /v1/tag/{id}``."""
    tag = await call.engine.function_resources.get(call.caller, Tag, call.path("id"))
    members = await call.members()
    name = members.text("name", _TAG_NAME, _TAG_RULE)
    color = members.text("color", _COLOR, _COLOR_RULE)
    members.done()
    changed = replace(tag, name=name or tag.name, color=color or tag.color)
    await call.engine.function_resources.replace(call.caller, changed, tag)
    return no_content()


@routes.delete("/v1/tag/{id}")
async def delete_tag(call: Call) -> Answer:
    """``DELETE /v1/tag/{id}``; what carried it shows it no more."""
    tag = await call.engine.function_resources.get(call.caller, Tag, call.path("id"))
    await call.engine.function_resources.remove(call.caller, tag)
    return no_content()


@routes.get("/v1/metrics")
async def metrics(call: Call) -> Answer:
    """``GET /v1/metrics``."""
    engine = call.engine
    counts = await engine.invocations.counts(call.caller)
    workers = engine.dispatch.workers()
    busy = sum(1 for record, free in workers if free.slots < record.capacity.slots)
    return json_document(
        {
            "pendingTasks": counts.open,
            "pendingBuilds": await engine.function_resources.pending_builds(call.caller.workspace),
            "activeNodes": len(workers),
            "freeNodes": len(workers) - busy,
            "busyNodes": busy,
            "todayTasks": counts.today,
            "completedTasks": counts.total - counts.open,
        }
    )


@routes.post("/v1/node/{id}")
async def register_node(call: Call) -> Answer:
    """``POST /v1/node/{uuid}``: noted down, again if it is known."""
    key = _node_key(call)
    members = await call.members(empty=True)
    description = members.printable("description", 256) or ""
    members.done()
    function_resources = call.engine.function_resources
    try:
        known = await function_resources.get(call.caller, Node, key)
        changed = replace(known, description=description)
        await function_resources.replace(call.caller, changed, known)
    except NotFound:
        now = call.engine.clock.now()
        await function_resources.add(
            call.caller, Node(key, call.caller.workspace, now, description)
        )
    return Answer(201)


@routes.get("/v1/node/list")
async def list_nodes(call: Call) -> ASGIApp:
    """``GET /v1/node/list``."""
    pages = call.engine.function_resources.everything(call.caller, Node)
    return await streamed(
        call, json_array([node_object(one) for one in page] async for page in pages)
    )


@routes.delete("/v1/node/{id}")
async def disable_node(call: Call) -> Answer:
    """``DELETE /v1/node/{uuid}``."""
    node = await call.engine.function_resources.get(call.caller, Node, _node_key(call))
    await call.engine.function_resources.replace(call.caller, replace(node, disabled=True), node)
    return no_content()


@routes.patch("/v1/node/{id}")
async def restore_node(call: Call) -> Answer:
    """``PATCH /v1/node/{uuid}``."""
    node = await call.engine.function_resources.get(call.caller, Node, _node_key(call))
    await call.engine.function_resources.replace(call.caller, replace(node, disabled=False), node)
    return Answer(200)


def _node_key(call: Call) -> str:
    key = call.path("id")
    if not _UUID.match(key):
        raise unknown("node", key)
    return key.lower()
