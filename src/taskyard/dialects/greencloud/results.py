"""Results of tasks: the answer of the function, or why it has none."""

from typing import Final

from taskyard.core.access.principals import Caller
from taskyard.core.functions.invocations import InvocationView
from taskyard.core.states import Reason, TaskState
from taskyard.dialects.greencloud.dialect import GreenCloud
from taskyard.dialects.greencloud.errors import error_answer
from taskyard.dialects.greencloud.headers import of_function
from taskyard.dialects.greencloud.mapping import state_of
from taskyard.dialects.http.answers import Answer, Headers
from taskyard.dialects.http.sandbox import without_origin_headers
from taskyard.services.engine import Engine
from taskyard.services.functions.calls import CallFailed

_BODILESS: Final = frozenset({204, 304})


async def result_answer(
    greencloud: GreenCloud, caller: Caller, view: InvocationView, headers: Headers = ()
) -> Answer:
    """The result of a task, or that it is not ready."""
    engine = greencloud.engine
    about = (
        *headers,
        (b"gc-task-id", view.call.id.encode()),
        (b"gc-task-state", state_of(view).encode()),
    )
    if not view.is_over:
        return error_answer(
            404, "RESULT_NOT_READY", "the task has not finished", (*about, (b"retry-after", b"1"))
        )
    try:
        result = await engine.invocations.result(caller, view)
    except CallFailed as error:
        message = await _reason(engine, view, str(error))
        if view.reason is Reason.TIMEOUT:
            return error_answer(408, "TIMEOUT", message, about)
        return error_answer(500, "FUNCTION_ERROR", message, about)
    given = of_function(result.headers)
    if greencloud.prefix:  # not a listener of its own: the dashboard has this origin, too
        given = without_origin_headers(given)
    sent = [*given, *about]
    body = result.body or b""
    return Answer(result.status, b"" if result.status in _BODILESS else body, sent)


async def _reason(engine: Engine, view: InvocationView, message: str) -> str:
    """Why there is no answer: what the engine says, or who did not want one any more."""
    if view.state is not TaskState.CANCELLED:
        return message
    if view.assigned_at is not None:
        return "the task was killed"
    function = await engine.functions.stored(view.call.workspace, view.call.function_id)
    # Both are of one clock, and what waits is cancelled after its function was deleted.
    deleted_at, finished_at = function.deleted_at, view.finished_at
    if deleted_at is not None and finished_at is not None and deleted_at <= finished_at:
        return "the function was deleted before the task started"
    return "the task was cancelled before it started"
