"""Starting a container that was made."""

from collections.abc import Callable

from taskyard.core.states import Reason
from taskyard.core.tasks import Container
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.container.context import RuntimeContext
from taskyard.runtimes.container.copy_files import copy_files
from taskyard.runtimes.container.create import allowed, probe_of
from taskyard.runtimes.container.request import container_name
from taskyard.runtimes.engine.container_state import finding
from taskyard.runtimes.engine.diagnosis import reason_of_refusal
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused


async def prepare(
    context: RuntimeContext, assignment: Assignment, work: Container, *, adopted: bool
) -> None:
    """Put in what it needs, and see that it is still allowed. Raises :class:`CannotRun`.

    Links may have been changed since it was made, or settings while this process was away.
    """
    if work.volumes or adopted:
        await allowed(context, work, assignment.resources)
    if work.files:
        name = container_name(assignment.attempt_id)
        await copy_files(context.engine, name, work.files, context.file_dirs, context.protected)


async def start(
    context: RuntimeContext,
    assignment: Assignment,
    work: Container,
    before_again: Callable[[], None],
) -> None:
    """Start it; once more if trouble may have passed while its cause was looked for.

    ``before_again`` is called before that: an engine may have ended the attachment.

    Raises:
        CannotRun: it does not start.
        EngineUnreachable: nobody knows whether it was started.
    """
    path = f"/containers/{container_name(assignment.attempt_id)}/start"
    # What is given through the attachment is lost with that.
    is_last = work.stdin is not None
    while True:
        try:
            await context.engine.call("POST", path)
        except EngineRefused as error:
            if await _has_begun(context, assignment):
                return
            reason = await reason_of_refusal(
                context.engine, error, probe_of(context, assignment, work)
            )
            if is_last or error.status < 500 or reason is Reason.RUNTIME_TROUBLE:
                raise CannotRun(f"cannot be started: {error}", reason) from error
            is_last = True
            before_again()
        else:
            return


async def _has_begun(context: RuntimeContext, assignment: Assignment) -> bool:
    """Whether it was started all the same: nothing runs twice.

    Raises :class:`CannotRun` if it is not there any more, and ``EngineUnreachable``.
    """
    try:
        inspected = await context.engine.inspect(container_name(assignment.attempt_id))
    except EngineRefused as error:
        text = f"cannot be started, nor looked at: {error}"
        raise CannotRun(text, Reason.RUNTIME_TROUBLE) from error
    if inspected is None:
        text = "its container was removed by somebody else before it was started"
        raise CannotRun(text, Reason.RUNTIME_TROUBLE)
    return finding(inspected).started_at is not None
