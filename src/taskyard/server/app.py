"""The request path, from a listener's socket to a route:

1. behind trusted proxies, find out whom the request came from; count its body until it is answered
   (``dialects/http/bodies.py``);
2. count the request, by route and status;
3. have browsers run nothing of an answer but our own pages (``dialects/http/sandbox.py``);
4. keep encoded slashes of a path apart from those between its segments;
5. below the prefix of a dialect of others, hand over to that dialect's own application;
6. refuse names that are not this server's, and what pages of others must not send
   (``dialects/http/browsers.py``);
7. answer ``OPTIONS``;
8. find the route (``dialects/http/routes.py``); those of the dashboard and the few below are
   found by Litestar;
9. the dialect: find the caller, limit and decode the body, ask the engine, answer.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import structlog
from litestar import Litestar, Request, Response, Router, get
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.utils import normalize_path

from taskyard.core.access.principals import Role
from taskyard.core.access.work_identity import WorkRules
from taskyard.core.errors import NotAllowed, TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.notifications.addresses import parse_address
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.bodies import Bodies
from taskyard.dialects.http.browsers import BrowserGuard, BrowserRules
from taskyard.dialects.http.proxies import Proxies
from taskyard.dialects.http.requests import LOCAL_KEY, SLASH, address_of
from taskyard.dialects.http.routes import METHODS
from taskyard.dialects.http.sandbox import sandboxed
from taskyard.dialects.native.app import SECTIONS, native_app
from taskyard.dialects.native.auth import caller_of
from taskyard.dialects.native.dialect import Native
from taskyard.dialects.native.errors import malformed, problem_of, request_id_of
from taskyard.dialects.native.openapi import describe
from taskyard.server.dialects import PREFIXES
from taskyard.server.health import Checks, health_router
from taskyard.server.metrics import NO_WORKSPACE, Metrics
from taskyard.server.work import warnings_of
from taskyard.services.access.permissions import require

PREFIX_KEY: Final = "prefix"
"""Where a connection's state keeps the prefix that was taken off its path."""
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})

log = structlog.get_logger(__name__)


Application = Callable[[str], ASGIApp]
"""Makes a dialect's application, which sees paths without the prefix it is given."""


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
    others: Mapping[str, Application] = field(default_factory=dict)
    """The dialects of others, by name."""
    browser_guard: BrowserGuard | None = None
    """The rules about browsers and hosts; everything is let through when None."""
    browser_rules: Mapping[str, BrowserRules] = field(default_factory=dict)
    """What is particular to a dialect in that, by its name."""
    proxies: Proxies | None = None
    """Proxies that say whom a request came from; None for none."""
    bodies: Bodies = field(default_factory=Bodies)
    """What the bodies of all requests may take."""
    work: WorkRules | None = None
    """As whom and how isolated work runs; ``/health`` says nothing about it when None."""

    def checked(self, name: str, app: ASGIApp) -> ASGIApp:
        """A dialect's application behind the rules about browsers."""
        browser_rules = self.browser_rules.get(name, BrowserRules())
        return app if self.browser_guard is None else self.browser_guard.checked(app, browser_rules)


def main_app(served: Served) -> ASGIApp:
    """Everything on one listener: each dialect below its prefix, and what belongs to none."""
    prefix = PREFIXES["native"]
    native = _native_app(served, served.native(prefix), extra=True)
    mounted = {
        PREFIXES[name]: served.checked(name, make(PREFIXES[name]))
        for name, make in served.others.items()
    }
    app = _mounted(mounted, served.checked("native", native))
    return _behind(served, _counted(served, sandboxed(_slashes(app))))


def dialect_app(served: Served, name: str) -> ASGIApp:
    """One dialect at the root of a listener of its own."""
    own = name == "native"
    app = _native_app(served, served.native("")) if own else served.others[name]("")
    app = _slashes(served.checked(name, app))
    # What GreenCloud's functions answer is free where they have an origin of their own.
    app = app if name == "greencloud" else sandboxed(app)
    return _behind(served, _counted(served, app))


def _behind(served: Served, app: ASGIApp) -> ASGIApp:
    """Have everything see the clients of trusted proxies, not the proxies."""
    app = served.bodies.counted(app)
    return app if served.proxies is None else served.proxies.resolved(app)


def _mounted(applications: Mapping[str, ASGIApp], otherwise: ASGIApp) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        prefix = path[: path.find("/", 1)] if "/" in path[1:] else path
        app = applications.get(prefix)
        if app is None:
            return await otherwise(scope, receive, send)
        # Not ``root_path``: frameworks differ in whether it is still part of the path then.
        scope["path"] = path[len(prefix) :] or "/"
        scope["raw_path"] = scope["raw_path"][len(prefix) :] or b"/"
        scope["state"][PREFIX_KEY] = prefix
        return await app(scope, receive, send)

    return serve


def _native_app(served: Served, native: Native, *, extra: bool = False) -> ASGIApp:
    """Our own dialect, and beside it the pages of no dialect: Litestar has these."""
    rules = served.work
    health = health_router(
        served.checks,
        dev=native.context.dev,
        isolation=None if rules is None else rules.isolation,
        warnings=() if rules is None else warnings_of(rules),
    )
    routers = [health, _openapi_router(native.prefix)]
    if extra:
        routers += [_metrics_router(served.metrics, native), *served.pages]

    def refuse(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        scope = request.scope
        if isinstance(error, NotFoundException):
            return _response(native.no_route(scope, []))
        if isinstance(error, MethodNotAllowedException):
            return _response(native.no_route(scope, allowed_methods(request.app, scope["path"])))
        refused = error
        if isinstance(error, HTTPException) and error.status_code < 500:
            refused = malformed(error.detail)
        return _response(problem_of(refused, request_id_of(scope["headers"])))

    pages = Litestar(
        routers,
        exception_handlers={Exception: refuse},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    return native_app(native, _options(pages))


def _response(answer: Answer) -> Response[bytes]:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    media_type = headers.pop("content-type")
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=media_type)


def allowed_methods(app: Litestar, path: str) -> list[str]:
    """What can be asked for at a path of Litestar's; nothing where no route is."""
    allowed: list[str] = []
    for method in METHODS:
        try:
            app.asgi_router.handle_routing(path=normalize_path(path), method=method)
        except HTTPException:
            continue
        allowed.append(method)
    return allowed and [*allowed, "OPTIONS"]


def _counted(served: Served, app: ASGIApp) -> ASGIApp:
    count, access_log = served.metrics.count_request, served.access_log

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket
            return await app(scope, receive, send)

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                prefix = str(scope["state"].get(PREFIX_KEY, ""))
                route = prefix + str(scope.get("path_template") or "none")
                count(_method(scope), route, message["status"])
                if access_log:
                    # The path alone: a query may carry a token.
                    log.info("request", path=prefix + scope["path"], status=message["status"])
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


def _openapi_router(prefix: str) -> Router:
    described: list[bytes] = []

    @get("/openapi.json", include_in_schema=False, sync_to_thread=False)
    def openapi() -> Response[bytes]:
        if not described:
            described.append(describe(SECTIONS, prefix))
        return Response(described[0], media_type="application/json")

    return Router("/", route_handlers=[openapi])


def _metrics_router(metrics: Metrics, native: Native) -> Router:
    @get("/metrics", include_in_schema=False)
    async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
        scope = request.scope
        try:
            shown = await _shown(native, scope)
        except TaskyardError as error:
            return _response(problem_of(error, request_id_of(scope["headers"])))
        return Response(metrics.page(shown), media_type=METRICS_TYPE)

    return Router("/", route_handlers=[page])


async def _shown(native: Native, scope: Scope) -> WorkspaceName | None:
    """Whose numbers a caller sees; None for those of all workspaces. Raises ``TaskyardError``.

    Whoever is near needs no credential, and without one learns of no workspace: a task that runs
    on this machine is near, too.
    """
    has_credential = any(name == b"authorization" for name, _ in scope["headers"])
    if is_near(scope) and not has_credential and LOCAL_KEY not in scope["state"]:
        return None if native.context.dev else NO_WORKSPACE
    caller = await caller_of(native.engine, scope)
    if caller.installation is not None:
        return None
    try:
        require(caller, Role.OPERATE)
    except NotAllowed as error:
        await native.engine.audit.not_allowed(caller, error, "metrics.get")
        raise
    return caller.workspace


def is_near(scope: Scope) -> bool:
    """Whether the peer is on this machine itself, not behind a proxy that is."""
    if LOCAL_KEY in scope["state"]:
        return True
    address = address_of(scope)
    if address is None or not _is_loopback(address):
        return False
    return not any(name in _FORWARDED for name, _ in scope["headers"])


def _is_loopback(text: str) -> bool:
    try:
        address = parse_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def dashboard_pages() -> tuple[Router, ...]:
    """The dashboard, if it is installed."""
    if importlib.util.find_spec("taskyard.dashboard.routes") is None:
        return ()
    from taskyard.dashboard.routes import dashboard_router  # noqa: PLC0415 - there may be none

    return (dashboard_router(),)
