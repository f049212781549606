"""The routes, as one table and as Litestar handlers made from it."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import structlog
from litestar import Litestar, Request, Response, WebSocket
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.types import ASGIApp
from litestar.utils import normalize_path
from msgspec import Struct

from taskyard.dialects.fastlane import routes_jobs, routes_lists
from taskyard.dialects.fastlane.answers import document_answer
from taskyard.dialects.fastlane.dialect import CALLER_KEY, Call, Fastlane
from taskyard.dialects.fastlane.errors import HTML_TYPE, answer_of, page_answer
from taskyard.dialects.fastlane.pages import page_policy, stream_page
from taskyard.dialects.fastlane.sockets import serve_socket
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.refusals import note_refusal

Operation = Callable[[Call], Awaitable[ASGIApp]]
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")
_TASK: Final = "/tasks/{task_id:str}"
_JOB: Final = _TASK + "/jobs/{job_id:str}"
_EXECUTION: Final = _JOB + "/executions/{execution_id:str}"

log = structlog.get_logger(__name__)


class Route(Struct, frozen=True):
    """One path with the methods that share an operation."""

    path: str
    methods: tuple[str, ...]
    operation: Operation


async def stream(call: Call) -> ASGIApp:
    """``GET J/stream`` and ``GET X/stream``: a page that follows the output."""
    given = call.scope["path_params"]
    ids = [call.path(one) for one in ("task_id", "job_id", "execution_id") if one in given]
    segments = [
        part for pair in zip(("tasks", "jobs", "executions"), ids, strict=False) for part in pair
    ]
    quoted = "/".join(quote(one, safe="", errors="replace") for one in segments)
    page = stream_page(" / ".join(ids), f"{call.fastlane.prefix}/{quoted}/ws/")
    policy = (b"content-security-policy", page_policy(page))
    return Answer(200, page, (HTML_TYPE, policy, (b"cache-control", b"no-store")))


def _outputs(prefix: str) -> list[Route]:
    return [
        Route(f"{prefix}/{kind}", ("GET",), partial(routes_jobs.output, kind=kind))
        for kind in ("stdout", "stderr", "logs")
    ]


ROUTES: Final = (
    Route("/", ("GET",), routes_lists.health),
    Route("/healthcheck", ("GET",), routes_lists.health),
    Route("/status", ("GET",), routes_lists.status),
    Route("/tasks", ("GET",), routes_lists.task_list),
    Route("/search", ("GET",), routes_lists.search),
    Route(_TASK, ("GET",), routes_jobs.task_jobs),
    Route(_TASK, ("POST",), routes_jobs.create_job),
    Route(_JOB, ("GET",), routes_jobs.job_details),
    Route(_JOB, ("PUT",), routes_jobs.put_job),
    Route(_JOB + "/stop", ("POST",), routes_jobs.stop_job),
    Route(_JOB + "/retry", ("POST",), routes_jobs.retry_job),
    *_outputs(_JOB),
    Route(_JOB + "/stream", ("GET",), stream),
    Route(_EXECUTION, ("GET",), routes_jobs.execution_details),
    Route(_EXECUTION + "/stop", ("POST",), routes_jobs.stop_execution),
    *_outputs(_EXECUTION),
    Route(_EXECUTION + "/stream", ("GET",), stream),
    Route(
        "/docker-executor/blacklist",
        ("POST", "PUT"),
        partial(routes_lists.blacklist, draining=True),
    ),
    Route(
        "/docker-executor/blacklist",
        ("DELETE",),
        partial(routes_lists.blacklist, draining=False),
    ),
)
SOCKETS: Final = (_JOB + "/ws", _EXECUTION + "/ws")


async def list_routes(call: Call) -> ASGIApp:  # noqa: ARG001 - as all operations
    """``GET /routes``: what there is, in debug mode."""
    return document_answer(
        [
            {
                "endpoint": one.path.replace("{", "<").replace(":str}", ">"),
                "methods": [*one.methods],
                "doc": (getattr(one.operation, "func", one.operation).__doc__ or "").strip(),
            }
            for one in ROUTES
        ]
    )


def litestar_app(fastlane: Fastlane) -> Litestar:
    """All routes, served by Litestar."""
    routes = ROUTES
    if fastlane.settings.debug:
        routes = (*ROUTES, Route("/routes", ("GET",), list_routes))
    return Litestar(
        [
            *(_handler(fastlane, one) for one in routes),
            *(_socket(fastlane, path) for path in SOCKETS),
        ],
        exception_handlers={Exception: _refused},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def _handler(fastlane: Fastlane, route: Route) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Answer:
        scope = request.scope
        call = Call(fastlane, scope["state"][CALLER_KEY], scope, request.receive)
        try:
            return await route.operation(call)  # type: ignore[return-value]  # any ASGI application
        except Exception as error:  # the top of a request
            await note_refusal(call.engine, "fastlane", call.caller, scope, error)
            answer = answer_of(error)
            if answer is None:
                log.exception("fastlane_request_failed", path=scope["path"])
                return page_answer(500)
            return answer

    return HTTPRouteHandler(
        route.path,
        http_method=[*route.methods],  # type: ignore[list-item]  # its literals
        status_code=200,  # unused: answers bring their own
        include_in_schema=False,
    )(handle)


def _socket(fastlane: Fastlane, path: str) -> WebsocketRouteHandler:
    async def handle(socket: WebSocket[Any, Any, Any]) -> None:
        scope = socket.scope
        caller = scope["state"][CALLER_KEY]
        await serve_socket(Call(fastlane, caller, scope, socket.receive), socket)

    return WebsocketRouteHandler(path)(handle)


def _refused(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if status == 405:
        allowed = allowed_methods(request.app, request.scope["path"])
        status = 405 if allowed else 404
        headers = ((b"allow", ", ".join(allowed).encode()),) if allowed else ()
    elif status >= 500:
        log.error("fastlane_request_failed", path=request.scope["path"], exc_info=error)
    answer = page_answer(status, headers)
    shown = {name.decode(): value.decode() for name, value in answer.headers}
    media_type = shown.pop("content-type").partition(";")[0]
    return Response(answer.body, status_code=status, headers=shown, media_type=media_type)


def allowed_methods(app: Litestar, path: str) -> list[str]:
    """What can be asked for at a path; nothing where no route is."""
    allowed: list[str] = []
    for method in METHODS:
        try:
            app.asgi_router.handle_routing(path=normalize_path(path), method=method)
        except HTTPException:
            continue
        allowed.append(method)
        if method == "GET":
            allowed.append("HEAD")
    return allowed and [*allowed, "OPTIONS"]
