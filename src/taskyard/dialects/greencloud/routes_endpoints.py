"""Management of public endpoints."""

import ipaddress
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.resources import Endpoint, TimeWindow
from taskyard.dialects.greencloud.dialect import Call
from taskyard.dialects.greencloud.mapping import endpoint_line, endpoint_object
from taskyard.dialects.greencloud.schemas import Members, created, json_document, page_answer
from taskyard.dialects.http.answers import Answer, no_content
from taskyard.dialects.http.routes import Routes

DESCRIPTION_MOST: Final = 256
LIMIT_MOST: Final = 2**53
_URL_MOST: Final = 2048
_ORIGINS: Final = "has to be a list of different URLs that begin with https://"
_ADDRESSES: Final = "has to be a list of different IPv4 addresses"
_WINDOW: Final = "has to have from, to and timezone, all of them text"

routes = Routes[Call, bool](access=False)


@routes.post("/v1/endpoint/{id}")
async def create(call: Call) -> Answer:
    """``POST /v1/endpoint/{functionId}``."""
    function = await call.function()
    members = await call.members(empty=True)
    made = Endpoint(
        id=secrets.token_hex(16),
        workspace=call.caller.workspace,
        created_at=call.engine.clock.now(),
        function_id=function.id,
    )
    made = await _changed(call, made, members)
    await call.engine.function_resources.add(call.caller, made)
    return created(made.id)


@routes.patch("/v1/endpoint/{id}")
async def edit(call: Call) -> Answer:
    """``PATCH /v1/endpoint/{endpointId}``."""
    endpoint = await _find(call)
    changed = await _changed(call, endpoint, await call.members(empty=True))
    await call.engine.function_resources.replace(call.caller, changed, endpoint)
    return no_content()


@routes.get("/v1/endpoint/{id}")
async def show(call: Call) -> Answer:
    """``GET /v1/endpoint/{endpointId}``."""
    endpoint = await _find(call)
    return json_document(endpoint_object(endpoint, await call.tags_of(endpoint)))


@routes.get("/v1/endpoint/{id}/metrics")
async def metrics(call: Call) -> Answer:
    """``GET /v1/endpoint/{endpointId}/metrics``."""
    endpoint = await _find(call)
    counts = await call.engine.invocations.counts(call.caller, endpoint_id=endpoint.id)
    return json_document(
        {"todayTasks": counts.today, "pendingTasks": counts.open, "weekTasks": counts.week}
    )


@routes.get("/v1/endpoint/list")
async def list_endpoints(call: Call) -> Answer:
    """``GET /v1/endpoint/list``."""
    wanted, found, total = await call.page_of(Endpoint)
    tags = await call.tags_of(*found)
    return page_answer(wanted, total, [endpoint_line(one, tags) for one in found])


@routes.delete("/v1/endpoint/{id}")
async def delete(call: Call) -> Answer:
    """``DELETE /v1/endpoint/{endpointId}``."""
    await call.engine.function_resources.remove(call.caller, await _find(call))
    return no_content()


async def _find(call: Call) -> Endpoint:
    return await call.engine.function_resources.get(call.caller, Endpoint, call.path("id"))


async def _changed(call: Call, endpoint: Endpoint, members: Members) -> Endpoint:
    """The endpoint with what was sent. Raises ``Refused``."""
    given: dict[str, Any] = {
        "description": members.printable("description", DESCRIPTION_MOST),
        "tags": await call.given_tags(members),
        "origins": members.texts("origin", _ORIGINS),
        "addresses": members.texts("ip", _ADDRESSES),
        "window": _window(members),
    }
    limit = members.number("dailyLimit", -1, LIMIT_MOST)
    if not all(_is_url(one) for one in given["origins"] or ()):
        members.wrong["origin"] = _ORIGINS
    if not all(_is_address(one) for one in given["addresses"] or ()):
        members.wrong["ip"] = _ADDRESSES
    members.done()
    changed = replace(
        endpoint, **{name: value for name, value in given.items() if value is not None}
    )
    if limit is not None:
        changed = replace(changed, daily_limit=None if limit < 0 else limit)
    return changed


def _window(members: Members) -> TimeWindow | None:
    if "timeLimit" not in members:
        return None
    value = members.raw("timeLimit")
    names = ("from", "to", "timezone")
    if not isinstance(value, dict) or not all(isinstance(value.get(one), str) for one in names):
        members.wrong["timeLimit"] = _WINDOW
        return None
    window = TimeWindow(*(value[one] for one in names))
    try:
        window.check()
    except InvalidInput as error:
        members.wrong["timeLimit"] = error.problem
        return None
    return window


def _is_url(text: str) -> bool:
    if not text.startswith("https://") or len(text) > _URL_MOST or not text.isascii():
        return False
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
