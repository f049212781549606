"""Public endpoints: anybody may call them, and read the results for a while."""

import html
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from litestar.types import Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import TaskyardError
from taskyard.core.functions.invocations import Allowance, CallOrigin
from taskyard.core.functions.resources import Endpoint
from taskyard.core.instants import after, to_datetime
from taskyard.dialects.greencloud.dialect import ID, PUBLIC, Call, function_of
from taskyard.dialects.greencloud.errors import (
    answer_of,
    needs_login,
    refused,
    unknown,
)
from taskyard.dialects.greencloud.invocations import answered, check_running, issue
from taskyard.dialects.greencloud.results import result_answer
from taskyard.dialects.greencloud.schemas import created
from taskyard.dialects.http.answers import HTML, Answer, Headers
from taskyard.dialects.http.errors import Refused
from taskyard.dialects.http.proxies import Proxies
from taskyard.dialects.http.requests import address_of, header_of
from taskyard.dialects.http.routes import Routes

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ANYBODY: Final = (b"access-control-allow-origin", b"*")
_EXPOSED: Final = (b"access-control-expose-headers", b"GC-Task-Id, GC-Task-State")
_ALLOWED: Final = ", ".join(METHODS).encode()
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

routes = Routes[Call, bool](access=False)


@routes.on(METHODS, "/gc/{id}", PUBLIC)
async def use(call: Call) -> Answer:
    """``/gc/{endpointId}``: a task for whoever may call."""
    origins = [_ANYBODY, _EXPOSED]
    try:
        endpoint = await call.engine.function_resources.endpoint(call.path("id"))
        origins = origin_headers(endpoint, call.header(b"origin"))
        answer = await _use(call, endpoint, origins)
    except TaskyardError as error:
        said = answer_of(error)
        if said is None:
            raise
        said.headers = [*said.headers, *origins]
        return said
    return answer


def _address(call: Call, trusted: Sequence[str]) -> str | None:
    """Whose address the call came from, as far as trusted proxies say."""
    peer = address_of(call.scope)
    return None if peer is None else Proxies(trusted).client_of(peer, call.scope["headers"])


async def _use(call: Call, endpoint: Endpoint, origins: Headers) -> Answer:
    engine, settings = call.engine, call.dialect.settings
    address = _address(call, settings.trusted_proxies)
    caller = Caller(f"endpoint {endpoint.id}", endpoint.workspace, Role.WRITE, address)
    function = await function_of(engine, caller, endpoint.function_id)
    check_running(function)
    if endpoint.origins and not _matches(endpoint, call.header(b"origin")):
        raise refused(403, "ORIGIN_NOT_ALLOWED", "this origin may not call this endpoint")
    if endpoint.addresses and address not in endpoint.addresses:
        raise refused(403, "IP_NOT_ALLOWED", "this address may not call this endpoint")
    now = engine.clock.now()
    if not endpoint.window.holds(now):
        raise refused(403, "OUTSIDE_TIME_WINDOW", "this endpoint may not be called now")
    day = to_datetime(now).strftime("%Y-%m-%d")
    daily = Allowance(f"endpoint:{endpoint.id}", day, endpoint.daily_limit)
    await engine.invocations.check((daily,))
    as_owner = Call(call.dialect, caller, call.scope, call.receive)
    origin = CallOrigin(endpoint_id=endpoint.id)
    issued = await issue(as_owner, caller, function, origin, (daily, *as_owner.quota()))
    result = await answered(as_owner, caller, issued, origins)
    if result is not None:
        return result
    answer = created(issued.id)
    if _wants_page(call.scope):
        answer = Answer(201, _page(_result_url(call, issued.id)), (HTML,))
    answer.headers = [*answer.headers, *origins]
    return answer


@routes.get("/gc/{id}/result", PUBLIC)
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
    view = await call.engine.invocations.view(key)
    owner = await _owner(call)
    workspace = view.call.workspace
    if owner is None or owner.workspace != workspace:
        if view.call.origin.endpoint_id is None:
            raise unknown("call", key)
        window_s = call.dialect.settings.public_result_s
        ended_at = view.finished_at
        if ended_at is not None and call.engine.clock.now() > after(ended_at, window_s):
            raise needs_login("this result is no longer public")
        owner = Caller("public", workspace, Role.READ)
    return await result_answer(call.dialect, owner, view, headers)


async def _owner(call: Call) -> Caller | None:
    """Who presents a valid token."""
    try:
        return await call.dialect.accounts.caller(
            call.header(b"authorization"), call.caller.address
        )
    except Refused:
        return None


@routes.on(("OPTIONS",), "/gc/{id}", PUBLIC)
async def preflight(call: Call) -> Answer:
    """``OPTIONS``: what browsers may send here."""
    try:
        endpoint = await call.engine.function_resources.endpoint(call.path("id"))
    except TaskyardError:
        return _preflight(call, [_ANYBODY, _EXPOSED])  # whether it exists shows in the call itself
    return _preflight(call, origin_headers(endpoint, call.header(b"origin")))


@routes.on(("OPTIONS",), "/gc/{id}/result", PUBLIC)
async def result_preflight(call: Call) -> Answer:
    """``OPTIONS`` of a result."""
    return _preflight(call, [_ANYBODY, _EXPOSED])


def _preflight(call: Call, origins: list[tuple[bytes, bytes]]) -> Answer:
    headers = [
        *origins,
        (b"allow", _ALLOWED + b", OPTIONS"),
        (b"access-control-allow-methods", _ALLOWED),
        (b"access-control-max-age", b"600"),
    ]
    asked = call.header(b"access-control-request-headers")
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
    return f"{scope['scheme']}://{host}{call.dialect.prefix}/gc/{task_id}/result"


def _page(url: str) -> bytes:
    shown = html.escape(url)
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Queued</title>\n"
        "<h1>Queued</h1>\n<p>The call is queued. Its result will be at "
        f'<a href="{shown}">{shown}</a>.</p>\n'
    ).encode()
