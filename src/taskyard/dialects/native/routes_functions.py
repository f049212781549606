"""Functions: deploy, look, call, roll back, pause, delete, restore."""

from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from litestar.types import ASGIApp, Scope
from msgspec import UNSET, Meta, Struct, UnsetType

from taskyard.core.access.principals import Role
from taskyard.core.errors import Conflict, InvalidInput, Overloaded
from taskyard.core.functions.functions import CallRequest
from taskyard.core.states import Reason, TaskState
from taskyard.core.tasks import FunctionCall
from taskyard.dialects.http.answers import Answer, json_answer, no_content
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.answers_functions import (
    TASK_HEADER,
    function_answer,
    request_answer,
    result_answer,
    version_answer,
)
from taskyard.dialects.native.answers_tasks import task_answer
from taskyard.dialects.native.build_log_stream import BuildLogStream
from taskyard.dialects.native.decoding import NoQuery, RawBody, check_no_form
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.errors import ProblemError
from taskyard.dialects.native.paging import page_of, read_number, read_text
from taskyard.dialects.native.queries import Number, PageQuery
from taskyard.dialects.native.schemas_functions import (
    CallRequestAnswer,
    DeployedAnswer,
    DeployedFunction,
    DeployQuery,
    FunctionAnswer,
    FunctionPageAnswer,
    FunctionPatch,
    FunctionQuery,
    FunctionVersionAnswer,
    FunctionVersionPageAnswer,
    RollBack,
    Wait,
)
from taskyard.dialects.native.schemas_tasks import TaskAnswer
from taskyard.dialects.native.uploads import UPLOAD_BYTES, deployment_of, limits_of
from taskyard.ports.functions import FunctionChange
from taskyard.services.functions.calls import CallFailed

FUNCTIONS: Final = "functions"
VERSIONS: Final = "versions"
MOST_WAIT_S: Final = 60.0
_DROPPED: Final = frozenset(
    {
        *(b"authorization", b"cookie", b"prefer", b"connection", b"keep-alive", b"te"),
        *(b"proxy-authorization", b"proxy-authenticate", b"trailer", b"transfer-encoding"),
        *(b"upgrade", b"host", b"content-length", b"idempotency-key"),
    }
)
"""Headers of a request that are not the function's business."""


class CallQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How to call."""

    wait: Wait = "0s"
    query: Annotated[
        str, Meta(max_length=8192, description="Query string for the function, encoded.")
    ] = ""
    version: Number | UnsetType = UNSET


class BuildLogQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which part of a log."""

    follow: bool = False
    """Follow the log until the build has ended."""


routes = Routes[Call[Any, Any], Description](answers({}), "/functions")


@routes.get("", answers({200: FunctionPageAnswer}))
async def list_functions(call: Call[FunctionQuery, None]) -> Answer:
    """A page of functions, oldest first."""
    query = call.query
    found = await call.engine.functions.page(
        call.caller,
        read_text(FUNCTIONS, query.cursor),
        query.limit + 1,
        tag=query.tag or None,
        deleted=query.deleted,
    )
    shown = page_of(FUNCTIONS, found, query.limit, lambda one: one.id, function_answer)
    return json_answer(FunctionPageAnswer(*shown))


@routes.put(
    "/{function}",
    answers(
        {200: DeployedAnswer, 202: DeployedAnswer},
        role=Role.WRITE,
        fails=(404, 409, 413, 422, 507),
        body_limit=UPLOAD_BYTES,
        described_body=DeployedFunction,
    ),
)
async def deploy_function(call: Call[DeployQuery, RawBody]) -> Answer:
    """Deploy a version; 202 while it is being built, 200 if the request waited for the build."""
    check_no_form(call.scope)
    deployment = deployment_of(call.scope, call.body, call.query)
    functions, name = call.engine.functions, call.path("function")
    function, version = await functions.deploy(call.caller, name, deployment)
    wait_s = seconds(call.query.wait)
    if wait_s > 0:
        key, number = function.id, version.number
        with suppress(Overloaded):  # It is deployed all the same, and built some time.
            version = await call.until_end(
                lambda: functions.built(call.caller, key, number, wait_s)
            )
        function = await functions.find(call.caller.workspace, function.id)
    answer = DeployedAnswer(
        function_answer(function), version_answer(version, function.live_version)
    )
    return json_answer(answer, 202 if version.finished_at is None else 200)


@routes.get("/{function}", answers({200: FunctionAnswer}, fails=(404,)))
async def get_function(call: Call[NoQuery, None]) -> Answer:
    """One function, by name or id."""
    found = await call.engine.functions.find(call.caller.workspace, call.path("function"))
    return json_answer(function_answer(found))


@routes.patch("/{function}", answers({200: FunctionAnswer}, role=Role.WRITE, fails=(404, 507)))
async def change_function(call: Call[NoQuery, FunctionPatch]) -> Answer:
    """Change title, description, tags or limits; earlier calls keep the old ones."""
    patch = call.body
    change = FunctionChange(
        title=None if patch.title is UNSET else patch.title,
        description=None if patch.description is UNSET else patch.description,
        tags=None if patch.tags is UNSET else tuple(dict.fromkeys(patch.tags)),
        limits=None if patch.limits is UNSET else limits_of(patch.limits),
    )
    if change == FunctionChange():
        raise InvalidInput("", "give at least one member to change")
    key = call.path("function")
    return json_answer(
        function_answer(await call.engine.functions.change(call.caller, key, change))
    )


@routes.delete("/{function}", answers({204: None}, role=Role.WRITE, fails=(404, 507)))
async def delete_function(call: Call[NoQuery, None]) -> Answer:
    """Delete a function; waiting calls are cancelled, results are kept."""
    await call.engine.functions.delete(call.caller, call.path("function"))
    return no_content()


@routes.post(
    "/{function}/restore", answers({200: FunctionAnswer}, role=Role.WRITE, fails=(404, 409, 507))
)
async def restore_function(call: Call[NoQuery, None]) -> Answer:
    """Restore a deleted function, by name or id."""
    functions = call.engine.functions
    function_id = await functions.deleted_id(call.caller, call.path("function"))
    return json_answer(function_answer(await functions.restore(call.caller, function_id)))


@routes.post("/{function}/pause", answers({200: FunctionAnswer}, role=Role.WRITE, fails=(404, 507)))
async def pause_function(call: Call[NoQuery, None]) -> Answer:
    """Start no more calls; waiting ones keep waiting."""
    key = call.path("function")
    paused = await call.engine.functions.pause(call.caller, key, paused=True)
    return json_answer(function_answer(paused))


@routes.post(
    "/{function}/resume", answers({200: FunctionAnswer}, role=Role.WRITE, fails=(404, 507))
)
async def resume_function(call: Call[NoQuery, None]) -> Answer:
    """Start calls again, waiting ones included."""
    key = call.path("function")
    resumed = await call.engine.functions.pause(call.caller, key, paused=False)
    return json_answer(function_answer(resumed))


@routes.post(
    "/{function}/rollback",
    answers({200: FunctionAnswer}, role=Role.WRITE, fails=(404, 409, 422, 507)),
)
async def roll_function_back(call: Call[NoQuery, RollBack | None]) -> Answer:
    """Let new calls use an earlier version."""
    number = call.body.version if call.body is not None else None
    key = call.path("function")
    back = await call.engine.functions.roll_back(call.caller, key, number)
    return json_answer(function_answer(back))


@routes.get("/{function}/versions", answers({200: FunctionVersionPageAnswer}, fails=(404,)))
async def list_function_versions(call: Call[PageQuery, None]) -> Answer:
    """A page of versions, newest first."""
    limit, key = call.query.limit, call.path("function")
    live = (await call.engine.functions.find(call.caller.workspace, key)).live_version
    before = read_number(VERSIONS, call.query.cursor)
    found = await call.engine.functions.versions(call.caller, key, before, limit + 1)
    shown = page_of(
        VERSIONS, found, limit, lambda one: one.number, lambda one: version_answer(one, live)
    )
    return json_answer(FunctionVersionPageAnswer(*shown))


@routes.get("/{function}/versions/{version}", answers({200: FunctionVersionAnswer}, fails=(404,)))
async def get_function_version(call: Call[NoQuery, None]) -> Answer:
    """One version."""
    key = call.path("function")
    found = await call.engine.functions.version(call.caller, key, _number(call))
    live = (await call.engine.functions.find(call.caller.workspace, key)).live_version
    return json_answer(version_answer(found, live))


@routes.get("/{function}/versions/{version}/log", answers({200: "text/plain"}, fails=(404,)))
async def get_build_log(call: Call[BuildLogQuery, None]) -> ASGIApp:
    """The log of a version's build; with `follow`, until it has ended."""
    key = call.path("function")
    log = await call.engine.functions.log(call.caller, key, _number(call))
    if call.query.follow:
        return call.while_valid(BuildLogStream(log, call.waiting()))
    kind = (b"content-type", b"text/plain; charset=utf-8")
    return Answer(200, log.text.encode(), (kind,))


@routes.post(
    "/{function}/calls",
    answers(
        {200: "*/*", 201: TaskAnswer, 202: TaskAnswer},
        role=Role.WRITE,
        fails=(404, 409, 413, 422, 504, 507),
    ),
)
async def call_function(call: Call[CallQuery, RawBody]) -> Answer:
    """Call a function; with `wait`, returns its response, or 202 if it takes longer."""
    engine, query = call.engine, call.query
    wait_s = seconds(query.wait)
    number = None if query.version is UNSET else query.version
    request, key = request_of(call.scope, call.body, query.query)
    spec = await engine.calls.prepare(call.caller, call.path("function"), request, version=number)
    if key is not None:
        spec = msgspec.structs.replace(spec, idempotency_key=key)
    if wait_s <= 0:
        task, created = await engine.tasks.submit(call.caller, spec)
        return json_answer(task_answer(task), 201 if created else 200, _links(call, task.id))
    try:
        with call.waiting():
            task, result = await engine.calls.call(call.caller, spec, wait_s)
    except CallFailed as error:
        raise _failed(error) from error
    if result is None:
        return json_answer(task_answer(task), 202, _links(call, task.id))
    return result_answer(task.id, result)


result_routes = Routes[Call[Any, Any], Description](answers({}), "/tasks")


@result_routes.get("/{task_id}/request", answers({200: CallRequestAnswer}, fails=(404, 409)))
async def get_request(call: Call[NoQuery, None]) -> Answer:
    """The request of a function call."""
    task = await call.engine.tasks.get(call.caller, call.task_id)
    if not isinstance(task.spec.work, FunctionCall):
        raise Conflict("this task is not a function call")
    return json_answer(request_answer(task.spec.work.request))


@result_routes.get("/{task_id}/result", answers({200: "*/*"}, fails=(404, 409)))
async def get_result(call: Call[NoQuery, None]) -> Answer:
    """The response of a function call: status, headers and body."""
    return result_answer(call.task_id, await call.engine.calls.result(call.caller, call.task_id))


def seconds(wait: str) -> float:
    """A duration such as ``30s`` or ``500ms``, at most a minute."""
    number = float(wait.rstrip("ms"))
    return min(MOST_WAIT_S, number / 1000 if wait.endswith("ms") else number)


def request_of(scope: Scope, body: bytes, query: str) -> tuple[CallRequest, str | None]:
    """What a function is asked, and the idempotency key that came with it."""
    host, key = "", None
    headers = []
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1")
        elif name == b"idempotency-key":
            key = value.decode("latin-1")[:255] or None
        elif name not in _DROPPED:
            headers.append((name.decode("latin-1"), value.decode("latin-1")))
    request = CallRequest(
        body=bytes(body), headers=tuple(headers), query=query, method="POST", host=host
    )
    return request, key


def _failed(error: CallFailed) -> ProblemError:
    if error.reason is Reason.TIMEOUT:
        return ProblemError(504, "function-timeout", str(error), task_id=error.task_id)
    if error.state in {TaskState.CANCELLED, TaskState.EXPIRED}:
        return ProblemError(409, "conflict", str(error), task_id=error.task_id)
    return ProblemError(500, "function-failed", str(error), task_id=error.task_id)


def _links(call: Call[object, object], task_id: str) -> tuple[tuple[bytes, bytes], ...]:
    location = f"{call.dialect.prefix}/tasks/{task_id}".encode()
    return ((b"location", location), (TASK_HEADER, task_id.encode()))


def _number(call: Call[object, object]) -> int:
    text = call.path("version")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else 0
