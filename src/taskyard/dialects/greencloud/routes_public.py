"""What anybody may do: call endpoints, and read the results for a while."""

import html
from typing import Any, Final
from urllib.parse import urlsplit

from litestar.types import Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import TaskyardError
from taskyard.core.functions.invocations import Allowance, CallOrigin
from taskyard.core.functions.resources import Endpoint
from taskyard.core.instants import after, to_datetime
from taskyard.dialects.greencloud.call import ID, Call, GreenCloud, created, function_of
from taskyard.dialects.greencloud.errors import (
    Headers,
    Refusal,
    answer_of,
    needs_login,
    unknown,
)
from taskyard.dialects.greencloud.headers import header_of
from taskyard.dialects.greencloud.issuing import answered, check_running, issue
from taskyard.dialects.greencloud.peers import client_of, networks
from taskyard.dialects.greencloud.results import result_answer
from taskyard.dialects.http.answers import Answer

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HTML: Final = (b"content-type", b"text/html; charset=utf-8")
_ANYBODY: Final = (b"access-control-allow-origin", b"*")
_EXPOSED: Final = (b"access-control-expose-headers", b"GC-Task-Id, GC-Task-State")
_ALLOWED: Final = ", ".join(METHODS).encode()
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


async def use(call: Call) -> Answer:
    """``/gc/{endpointId}``: a task for whoever may call."""
    origins = [_ANYBODY, _EXPOSED]
    try:
        endpoint = await call.engine.catalogue.endpoint(call.path("id"))
        origins = origin_headers(endpoint, header_of(call.scope, b"origin"))
        answer = await _use(call, endpoint, origins)
    except TaskyardError as error:
        said = answer_of(error)
        if said is None:
            raise
        said.headers = [*said.headers, *origins]
        return said
    return answer


async def _use(call: Call, endpoint: Endpoint, origins: Headers) -> Answer:
    engine, settings = call.engine, call.greencloud.settings
    address = client_of(call.scope, networks(settings.trusted_proxies))
    caller = Caller(f"endpoint {endpoint.id}", endpoint.workspace, Role.WRITE, address)
    function = function_of(engine, caller, endpoint.function_id)
    check_running(function)
    if endpoint.origins and not _matches(endpoint, header_of(call.scope, b"origin")):
        raise Refusal(403, "ORIGIN_NOT_ALLOWED", "this origin may not call this endpoint")
    if endpoint.addresses and address not in endpoint.addresses:
        raise Refusal(403, "IP_NOT_ALLOWED", "this address may not call this endpoint")
    now = engine.clock.now()
    if not endpoint.window.holds(now):
        raise Refusal(403, "OUTSIDE_TIME_WINDOW", "this endpoint may not be called now")
    day = to_datetime(now).strftime("%Y-%m-%d")
    daily = Allowance(f"endpoint:{endpoint.id}", day, endpoint.daily_limit)
    await engine.issuing.check((daily,))
    as_owner = Call(call.greencloud, caller, call.scope, call.receive)
    origin = CallOrigin(endpoint_id=endpoint.id)
    issued = await issue(as_owner, caller, function, origin, (daily, *as_owner.quota()))
    result = await answered(as_owner, caller, issued, origins)
    if result is not None:
        return result
    answer = created(issued.id)
    if _wants_page(call.scope):
        answer = Answer(201, _page(_result_url(call, issued.id)), (_HTML,))
    answer.headers = [*answer.headers, *origins]
    return answer


async def result(call: Call) -> Answer:
    """``GET /gc/{taskId}/result``."""
    headers = (_ANYBODY, _EXPOSED)
    try:
        return await _result(call, headers)
    except TaskyardError as error:
        said = answer_of(error)
        if said is None:
            raise
        said.headers = [*said.headers, *headers]
        return said


async def _result(call: Call, headers: Headers) -> Answer:
    key = call.path("id")
    if not ID.match(key):
        raise unknown("call", key)
    view = await call.engine.issuing.view(key)
    owner = await _owner(call)
    workspace = view.call.workspace
    if owner is None or owner.workspace != workspace:
        if view.call.origin.endpoint_id is None:
            raise unknown("call", key)
        window_s = call.greencloud.settings.public_result_s
        ended_at = view.finished_at
        if ended_at is not None and call.engine.clock.now() > after(ended_at, window_s):
            raise needs_login("this result is no longer public")
        owner = Caller("public", workspace, Role.READ)
    return await result_answer(call.greencloud, owner, view, headers)


async def _owner(call: Call) -> Caller | None:
    """Who presents a valid token."""
    try:
        return await call.greencloud.accounts.caller(
            header_of(call.scope, b"authorization"), call.caller.address
        )
    except Refusal:
        return None


async def preflight(greencloud: GreenCloud, scope: Scope, endpoint_id: str | None) -> Answer:
    """``OPTIONS``: what browsers may send here."""
    headers: list[tuple[bytes, bytes]] = [_ANYBODY, _EXPOSED]
    if endpoint_id is not None:
        try:
            endpoint = await greencloud.host.engine.catalogue.endpoint(endpoint_id)
            headers = [*origin_headers(endpoint, header_of(scope, b"origin"))]
        except TaskyardError:
            headers = [_ANYBODY, _EXPOSED]  # whether it exists shows in the call itself
    headers += [
        (b"allow", _ALLOWED + b", OPTIONS"),
        (b"access-control-allow-methods", _ALLOWED),
        (b"access-control-max-age", b"600"),
    ]
    asked = header_of(scope, b"access-control-request-headers")
    if asked:
        headers.append((b"access-control-allow-headers", asked.encode("latin-1")))
    return Answer(204, b"", headers)


def origin_headers(endpoint: Endpoint, origin: str | None) -> list[tuple[bytes, bytes]]:
    """Which pages may read the answer."""
    if not endpoint.origins:
        return [_ANYBODY, _EXPOSED]
    vary = (b"vary", b"Origin")
    if origin is None or not _matches(endpoint, origin):
        return [vary]
    return [(b"access-control-allow-origin", origin.encode("latin-1")), _EXPOSED, vary]


def _matches(endpoint: Endpoint, origin: str | None) -> bool:
    if origin is None:
        return False
    asked = _parts(origin)
    return asked is not None and any(_parts(one) == asked for one in endpoint.origins)


def _parts(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port: what makes an origin."""
    try:
        parts: Any = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname or "", port)


def _wants_page(scope: Scope) -> bool:
    accepts = header_of(scope, b"accept") or ""
    return scope.get("method") == "GET" and "text/html" in accepts.lower()


def _result_url(call: Call, task_id: str) -> str:
    scope = call.scope
    host = header_of(scope, b"host")
    if not host:
        server = scope.get("server")
        host = f"{server[0]}:{server[1]}" if server else "localhost"
    return f"{scope['scheme']}://{host}{call.greencloud.prefix}/gc/{task_id}/result"


def _page(url: str) -> bytes:
    shown = html.escape(url)
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Queued</title>\n"
        "<h1>Queued</h1>\n<p>The call is queued. Its result will be at "
        f'<a href="{shown}">{shown}</a>.</p>\n'
    ).encode()
