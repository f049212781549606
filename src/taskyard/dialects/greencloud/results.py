"""Results of tasks: the function's own answer, or why there is none."""

from taskyard.core.access import Caller
from taskyard.core.issued import CallView
from taskyard.core.states import Reason, TaskState
from taskyard.dialects.greencloud.errors import Headers, error_answer
from taskyard.dialects.greencloud.headers import of_function
from taskyard.dialects.greencloud.mapping import state_of
from taskyard.dialects.http.answers import Answer
from taskyard.services.calls import CallFailed
from taskyard.services.engine import Engine

_BODILESS = frozenset({204, 304})


async def result_answer(
    engine: Engine, caller: Caller, view: CallView, headers: Headers = ()
) -> Answer:
    """The result of a task, or that it is not ready."""
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
        result = await engine.issuing.result(caller, view)
    except CallFailed as error:
        return _failure(view, error, about)
    sent = [*of_function(result.headers), *about]
    body = result.body or b""
    return Answer(result.status, b"" if result.status in _BODILESS else body, sent)


def _failure(view: CallView, error: CallFailed, headers: Headers) -> Answer:
    if view.reason is Reason.TIMEOUT:
        return error_answer(408, "TIMEOUT", str(error), headers)
    message = str(error)
    if view.state is TaskState.CANCELLED:
        message = "the task was killed"
        if view.assigned_at is None:
            message = "the task was cancelled, or its function deleted, before it started"
    return error_answer(500, "FUNCTION_ERROR", message, headers)
