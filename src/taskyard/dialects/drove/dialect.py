"""The dialect as an application: routes below ``/apis/v1``, and what every answer has."""

from typing import Any, Final

from litestar import Litestar, Request, Response, Router
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.drove.cluster import Cluster
from taskyard.dialects.drove.errors import answer_of
from taskyard.dialects.drove.pages import Pages
from taskyard.dialects.drove.routes_cluster import ClusterRoutes
from taskyard.dialects.drove.routes_logs import LogRoutes
from taskyard.dialects.drove.routes_tasks import TaskRoutes
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.dialect import DialectContext
from taskyard.dialects.http.routing import allowed_methods
from taskyard.dialects.http.sockets import refuse_upgrade

BASE: Final = "/apis/v1"


def drove_app(
    host: DialectContext, settings: DroveSettings, prefix: str, cluster: Cluster | None = None
) -> ASGIApp:
    """The application; it sees paths without ``prefix``.

    ``cluster`` is what it shares with other applications on the same engine; its own when None.
    """
    shared = Cluster(host, settings) if cluster is None else cluster
    handlers = [
        *TaskRoutes(shared, prefix).handlers(),
        *LogRoutes(shared).handlers(),
        *ClusterRoutes(shared).handlers(),
    ]
    app = Litestar(
        [Router(BASE, route_handlers=handlers), *Pages(shared, prefix).handlers()],
        exception_handlers={Exception: _answer_error},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket; there is none here
            await receive()
            await refuse_upgrade(scope, send, Answer(404))
        elif scope.get("method") == "OPTIONS" and (known := allowed_methods(app, scope["path"])):
            headers = ((b"allow", ", ".join(known).encode()),)
            await Answer(200, b"", headers)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


def _answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What Litestar itself refuses, and defects outside of handlers."""
    if isinstance(error, NotFoundException):
        return Response(b"", status_code=404)
    if isinstance(error, MethodNotAllowedException):
        allow = ", ".join(allowed_methods(request.app, request.scope["path"]))
        return Response(b"", status_code=405, headers={"allow": allow})
    if isinstance(error, HTTPException) and error.status_code < 500:
        return Response(b"", status_code=error.status_code)
    answer = answer_of(error)
    return Response(answer.body, status_code=answer.status, media_type="application/json")
