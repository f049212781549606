"""The native dialect as a whole: its routes, and its answers where no route is."""

from typing import Any, Final

from litestar import Controller, Request, Response, Router
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.routing import allowed_methods
from taskyard.dialects.native.errors import Refusal, problem_of, request_id_of
from taskyard.dialects.native.routes_access import AccessRoutes
from taskyard.dialects.native.routes_functions import FunctionRoutes, ResultRoutes
from taskyard.dialects.native.routes_groups import GroupRoutes, WorkspaceRoutes
from taskyard.dialects.native.routes_jobs import JobRoutes
from taskyard.dialects.native.routes_live import LiveRoutes
from taskyard.dialects.native.routes_logs import LogRoutes
from taskyard.dialects.native.routes_misc import MiscRoutes
from taskyard.dialects.native.routes_tasks import TaskRoutes
from taskyard.dialects.native.routes_webhooks import WebhookRoutes

CONTROLLERS: Final[tuple[type[Controller], ...]] = (
    TaskRoutes,
    LogRoutes,
    LiveRoutes,
    GroupRoutes,
    JobRoutes,
    WorkspaceRoutes,
    WebhookRoutes,
    FunctionRoutes,
    ResultRoutes,
    AccessRoutes,
    MiscRoutes,
)


def native_router(prefix: str) -> Router:
    """All routes below a prefix (empty: at the root)."""
    return Router(prefix or "/", route_handlers=list(CONTROLLERS))


def answer_http_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What Litestar itself refuses, and defects outside of handlers, as problem documents."""
    refusal: Exception = error
    if isinstance(error, NotFoundException):
        refusal = Refusal(404, "not-found", "there is nothing at this path")
    elif isinstance(error, MethodNotAllowedException):
        allowed = ", ".join(allowed_methods(request.app, request.scope["path"]))
        refusal = Refusal(
            405,
            "method-not-allowed",
            f"{request.method} is not possible here; {allowed} is",
            ((b"allow", allowed.encode()),),
        )
    elif isinstance(error, HTTPException) and error.status_code < 500:
        refusal = Refusal(400, "malformed-body", error.detail)
    return _response(problem_of(refusal, request_id_of(request.scope["headers"])))


def _response(answer: Answer) -> Response[bytes]:
    headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    media_type = headers.pop("content-type")
    return Response(answer.body, status_code=answer.status, headers=headers, media_type=media_type)
