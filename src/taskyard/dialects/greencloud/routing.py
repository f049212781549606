"""The routes, in the order of the contract."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.dialects.greencloud import (
    routes_accounts,
    routes_builds,
    routes_endpoints,
    routes_functions,
    routes_public,
    routes_rest,
    routes_schedules,
    routes_tasks,
    routes_triggers,
)
from taskyard.dialects.greencloud.call import Call, GreenCloud
from taskyard.dialects.greencloud.errors import answer_of, error_answer
from taskyard.dialects.greencloud.headers import header_of
from taskyard.dialects.greencloud.issuing import create_task
from taskyard.dialects.greencloud.piecewise import PiecewiseAnswer
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.refusals import note_refusal
from taskyard.dialects.http.requests import address_of
from taskyard.dialects.http.routing import allowed_methods

Operation = Callable[[Call], Awaitable[Answer]]

log = structlog.get_logger(__name__)


class Route(Struct, frozen=True):
    """A method of a path."""

    path: str
    method: str
    operation: Operation
    public: bool = False
    """Whether no token is asked for."""


ROUTES: Final = (
    Route("/v1/auth/apiKey", "POST", routes_accounts.exchange, public=True),
    Route("/v1/auth/login", "POST", routes_accounts.log_in, public=True),
    Route("/v1/auth/refresh", "POST", routes_accounts.refresh, public=True),
    Route("/v1/task", "POST", routes_tasks.create_by_body),
    Route("/v1/task/list", "GET", routes_tasks.list_tasks),
    Route("/v1/task/{id:str}", "POST", create_task),
    Route("/v1/task/{id:str}", "GET", routes_tasks.show),
    Route("/v1/task/{id:str}/result", "GET", routes_tasks.result),
    Route("/v1/task/{id:str}/csv", "GET", routes_tasks.as_csv),
    Route("/v1/function", "POST", routes_functions.create),
    Route("/v1/function/list", "GET", routes_functions.list_functions),
    Route("/v1/function/{id:str}", "GET", routes_functions.show),
    Route("/v1/function/{id:str}", "PATCH", routes_functions.edit),
    Route("/v1/function/{id:str}", "DELETE", routes_functions.delete),
    Route("/v1/function/{id:str}/togglePause", "POST", routes_functions.toggle_pause),
    Route("/v1/function/{id:str}/restore", "POST", routes_functions.restore),
    Route("/v1/function/{id:str}/capabilities", "GET", routes_functions.show_capabilities),
    Route("/v1/function/{id:str}/capabilities", "POST", routes_functions.set_capabilities),
    Route("/v1/build/list", "GET", routes_builds.list_builds),
    Route("/v1/build/{id:str}", "POST", routes_builds.create),
    Route("/v1/build/{id:str}", "GET", routes_builds.show),
    Route("/v1/endpoint/list", "GET", routes_endpoints.list_endpoints),
    Route("/v1/endpoint/{id:str}", "POST", routes_endpoints.create),
    Route("/v1/endpoint/{id:str}", "PATCH", routes_endpoints.edit),
    Route("/v1/endpoint/{id:str}", "GET", routes_endpoints.show),
    Route("/v1/endpoint/{id:str}", "DELETE", routes_endpoints.delete),
    Route("/v1/endpoint/{id:str}/metrics", "GET", routes_endpoints.metrics),
    Route("/v1/trigger", "POST", routes_triggers.create),
    Route("/v1/trigger/list", "GET", routes_triggers.list_triggers),
    Route("/v1/trigger/{id:str}", "GET", routes_triggers.show),
    Route("/v1/trigger/{id:str}", "PATCH", routes_triggers.edit),
    Route("/v1/trigger/{id:str}", "DELETE", routes_triggers.delete),
    Route("/v1/scheduled", "POST", routes_schedules.create),
    Route("/v1/scheduled/list", "GET", routes_schedules.list_schedules),
    Route("/v1/scheduled/{id:str}", "GET", routes_schedules.show),
    Route("/v1/scheduled/{id:str}", "PATCH", routes_schedules.edit),
    Route("/v1/scheduled/{id:str}", "DELETE", routes_schedules.delete),
    Route("/v1/scheduled/{id:str}/payload", "PUT", routes_schedules.set_payload),
    Route("/v1/scheduled/{id:str}/try", "POST", routes_schedules.try_now),
    Route("/v1/tag", "POST", routes_rest.create_tag),
    Route("/v1/tag/list", "GET", routes_rest.list_tags),
    Route("/v1/tag/{id:str}", "PATCH", routes_rest.edit_tag),
    Route("/v1/tag/{id:str}", "DELETE", routes_rest.delete_tag),
    Route("/v1/metrics", "GET", routes_rest.metrics),
    Route("/v1/user", "GET", routes_accounts.show_user),
    Route("/v1/node/list", "GET", routes_rest.list_nodes),
    Route("/v1/node/{id:str}", "POST", routes_rest.register_node),
    Route("/v1/node/{id:str}", "PATCH", routes_rest.restore_node),
    Route("/v1/node/{id:str}", "DELETE", routes_rest.disable_node),
    *(
        Route("/gc/{id:str}", method, routes_public.use, public=True)
        for method in routes_public.METHODS
    ),
    Route("/gc/{id:str}/result", "GET", routes_public.result, public=True),
)


def litestar_app(greencloud: GreenCloud) -> Litestar:
    """All routes, served by Litestar."""
    return Litestar(
        [_handler(greencloud, one) for one in (*ROUTES, *_beside_lists())],
        exception_handlers={Exception: _refused},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def _beside_lists() -> list[Route]:
    """For a path that ends in ``list``: what the other methods mean is an object of that id."""
    lists = {one.path.removesuffix("list") for one in ROUTES if one.path.endswith("/list")}
    return [
        Route(one.path.replace("{id:str}", "list"), one.method, one.operation)
        for one in ROUTES
        if one.path.endswith("/{id:str}")
        and one.method != "GET"
        and one.path.removesuffix("{id:str}") in lists
    ]


def _handler(greencloud: GreenCloud, route: Route) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Answer:
        scope = request.scope
        address = address_of(scope)
        caller = Caller("anybody", INSTALLATION, Role.READ, address)
        engine = greencloud.host.engine
        try:
            if not route.public:
                header = header_of(scope, b"authorization")
                caller = await greencloud.accounts.caller(header, address)
            sent = await route.operation(Call(greencloud, caller, scope, request.receive))
            if isinstance(sent, PiecewiseAnswer):
                sent.guard_with(engine.clock, caller)
            return sent  # noqa: TRY300 - as all answers
        except Exception as error:  # the top of a request
            await note_refusal(engine, "greencloud", caller, scope, error)
            answer = answer_of(error)
            if answer is None:
                log.exception("greencloud_request_failed", path=scope["path"])
                return error_answer(500, "INTERNAL", "this should not have happened")
            return answer

    return HTTPRouteHandler(
        route.path,
        http_method=[route.method],  # type: ignore[list-item]  # its literals
        status_code=200,  # unused: answers bring their own
        include_in_schema=False,
    )(handle)


def _refused(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What Litestar itself refuses, and defects outside of handlers."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = error_answer(404, "NOT_FOUND", "there is no such path")
    headers: dict[str, str] = {}
    if status == 405:
        allowed = allowed_methods(request.app, request.scope["path"])
        if allowed:
            answer = error_answer(405, "METHOD_NOT_ALLOWED", "not with this method")
            headers["allow"] = ", ".join(one for one in allowed if one != "OPTIONS")
    elif status == 400:
        answer = error_answer(400, "INVALID_INPUT", "the request cannot be read")
    elif status >= 500:
        log.error("greencloud_request_failed", path=request.scope["path"], exc_info=error)
        answer = error_answer(500, "INTERNAL", "this should not have happened")
    return Response(
        answer.body, status_code=answer.status, headers=headers, media_type="application/json"
    )
