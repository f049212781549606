"""The dialect as an application: routes, the stream, and what every answer has."""

from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.gx.boards import AllSnapshots
from taskyard.dialects.gx.errors import (
    BAD_BODY,
    BAD_REQUEST,
    NOT_FOUND,
    WRONG_METHOD,
    Refusal,
    answer_of,
)
from taskyard.dialects.gx.routes import Routes
from taskyard.dialects.gx.settings import GxSettings
from taskyard.dialects.gx.streams import Streams
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.host import Host
from taskyard.dialects.http.refusing import refuse_upgrade
from taskyard.dialects.http.routing import allowed_methods

STREAM_PATH: Final = "/ws/tasks"
_ORIGIN: Final = (b"access-control-allow-origin", b"*")
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"Content-Type"),
    (b"access-control-max-age", b"86400"),
)
_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})


def gx_app(host: Host, settings: GxSettings) -> ASGIApp:
    """The application; it sees paths from its own root on."""
    snapshots = AllSnapshots()
    app = Litestar(
        [Routes(host, settings, snapshots).router()],
        exception_handlers={Exception: _answer_error},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    streams = Streams(host, settings, snapshots)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def open_to_all(message: Any) -> None:
            if message["type"] in _STARTS:
                message["headers"] = [*message["headers"], _ORIGIN]
            await send(message)

        if "method" not in scope:  # a WebSocket
            if scope["path"] == STREAM_PATH:
                await streams(scope, receive, open_to_all)
                return
            await receive()
            known = allowed_methods(app, scope["path"])
            refusal = Refusal(BAD_REQUEST if known else NOT_FOUND)
            await refuse_upgrade(scope, open_to_all, answer_of(refusal))
        elif scope.get("method") == "OPTIONS" and allowed_methods(app, scope["path"]):
            await Answer(204, b"", _PREFLIGHT)(scope, receive, open_to_all)
        else:
            await app(scope, receive, open_to_all)

    return serve


def _answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What Litestar itself refuses, and defects outside of handlers."""
    refusal: Exception = error
    headers = {}
    if isinstance(error, NotFoundException):
        refusal = Refusal(NOT_FOUND)
    elif isinstance(error, MethodNotAllowedException):
        refusal = Refusal(WRONG_METHOD)
        headers["allow"] = ", ".join(allowed_methods(request.app, request.scope["path"]))
    elif isinstance(error, HTTPException) and error.status_code < 500:
        refusal = Refusal(BAD_BODY)
    answer = answer_of(refusal)
    return Response(
        answer.body, status_code=answer.status, headers=headers, media_type="application/json"
    )
