"""The request path, from a listener's socket to a route:

1. count the request, by route and status;
2. keep encoded slashes of a path apart from those between its segments;
3. answer ``OPTIONS``;
4. Litestar: find the route, of a dialect, of the dashboard, or one of the few below;
5. the dialect's handler: limit the body, find the caller, decode, ask the engine, answer.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import structlog
from litestar import Litestar, Request, Response, Router, get
from litestar.datastructures import State
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from taskyard.core.access import Role
from taskyard.core.errors import TaskyardError
from taskyard.dialects.native.answers import Answer
from taskyard.dialects.native.callers import address_of, caller_of
from taskyard.dialects.native.dialect import allowed_methods, answer_http_error
from taskyard.dialects.native.errors import problem_of, request_id_of
from taskyard.dialects.native.native import LOCAL_KEY, STATE_KEY, Native
from taskyard.dialects.native.openapi import describe
from taskyard.dialects.native.operation import SLASH
from taskyard.server.dialects import DIALECTS, Dialect
from taskyard.server.health import Checks, health_router
from taskyard.server.metrics import Metrics
from taskyard.services.access import require

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LOOPBACK: Final = ("127.", "::1", "::ffff:127.")
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """What applications serve."""

    native: Callable[[str], Native]
    """The native dialect below a prefix."""
    metrics: Metrics
    checks: Checks
    pages: tuple[Router, ...] = ()
    """Routes of the main listener that belong to no dialect."""
    access_log: bool = False


def main_app(served: Served) -> ASGIApp:
    """Everything on one listener: each dialect below its prefix, and what belongs to none."""
    native = served.native(DIALECTS["native"].prefix)
    routers = [dialect.router(dialect.prefix) for dialect in DIALECTS.values()]
    extra = [_metrics_router(served.metrics), *served.pages]
    return _finished(served, native, [*routers, *extra])


def dialect_app(served: Served, dialect: Dialect) -> ASGIApp:
    """One dialect at the root of a listener of its own."""
    return _finished(served, served.native(""), [dialect.router("")])


def _finished(served: Served, native: Native, routers: list[Router]) -> ASGIApp:
    app = Litestar(
        [*routers, health_router(served.checks, dev=native.dev), _openapi_router()],
        state=State({STATE_KEY: native}),
        exception_handlers={Exception: answer_http_error},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    return _counted(served, _slashes(_options(app)))


def _counted(served: Served, app: ASGIApp) -> ASGIApp:
    count, access_log = served.metrics.count_request, served.access_log

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket
            return await app(scope, receive, send)

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("path_template") or "none"
                count(_method(scope), str(route), message["status"])
                if access_log:
                    # The path alone: a query may carry a token.
                    log.info("request", path=scope["path"], status=message["status"])
            await send(message)

        return await app(scope, receive, counting)

    return serve


def _method(scope: Scope) -> str:
    method = str(scope.get("method"))
    return method if method in _METHODS else "other"


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _slashes(app: ASGIApp) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope["raw_path"]
        if b"%2" in raw and b"%2F" in raw.upper():
            segments = [
                unquote_to_bytes(one).decode(errors="replace").replace("/", SLASH)
                for one in raw.split(b"/")
            ]
            scope["path"] = "/".join(segments)
        await app(scope, receive, send)

    return serve


def _options(app: Litestar) -> ASGIApp:
    """Answer with every method of a path; Litestar itself knows those of one handler only."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "OPTIONS":
            allowed = allowed_methods(app, scope["path"])
            if allowed:
                allow = ", ".join(allowed).encode()
                return await Answer(204, b"", ((b"allow", allow),))(scope, receive, send)
        return await app(scope, receive, send)

    return serve


def _openapi_router() -> Router:
    described: list[bytes] = []

    @get("/openapi.json", include_in_schema=False, sync_to_thread=False)
    def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not described:
            described.append(describe(request.app))
        return Response(described[0], media_type="application/json")

    return Router("/", route_handlers=[openapi])


def _metrics_router(metrics: Metrics) -> Router:
    @get("/metrics", include_in_schema=False)
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope = request.scope
        try:
            if not _is_near(scope):
                native: Native = request.app.state[STATE_KEY]
                require(await caller_of(native, scope), Role.OPERATE)
        except TaskyardError as error:
            answer = problem_of(error, request_id_of(scope["headers"]))
            headers = {name.decode(): value.decode() for name, value in answer.headers}
            return Response(
                answer.body,
                status_code=answer.status,
                media_type=headers.pop("content-type"),
                headers=headers,
            )
        return Response(metrics.page(), media_type=METRICS_TYPE)

    return Router("/", route_handlers=[page])


def _is_near(scope: Scope) -> bool:
    """Whether the peer is on this machine itself, not behind a proxy that is."""
    if LOCAL_KEY in scope["state"]:
        return True
    address = address_of(scope)
    if address is None or not address.startswith(_LOOPBACK):
        return False
    return not any(name in _FORWARDED for name, _ in scope["headers"])


def dashboard_pages() -> tuple[Router, ...]:
    """The dashboard, if it is installed."""
    if importlib.util.find_spec("taskyard.dashboard.routes") is None:
        return ()
    from taskyard.dashboard.routes import dashboard_router  # noqa: PLC0415 - there may be none

    return (dashboard_router(),)
