"""What workers on other machines may know of functions: the versions that their calls need."""

from taskyard.core.errors import NotAllowed, NotFound
from taskyard.core.functions.functions import Version
from taskyard.core.ids import AttemptId, WorkerId, WorkspaceName
from taskyard.core.tasks import FunctionCall
from taskyard.ports.functions import FunctionStore
from taskyard.ports.store import TaskStore


class HeldVersions:
    """Finds versions for workers that hold calls of them."""

    def __init__(self, tasks: TaskStore, functions: FunctionStore) -> None:
        self._tasks = tasks
        self._functions = functions

    async def version(
        self, worker_id: WorkerId, workspace: WorkspaceName, attempt_id: AttemptId, number: int
    ) -> Version:
        """The version with this number of the function that an attempt calls.

        A call that is bound to a version needs that one; which one was live when another one was
        placed, only its worker knows.

        Raises:
            NotAllowed: the worker does not hold that attempt now, or it needs nothing of the kind.
            NotFound: there is no such version.
        """
        try:
            attempt = await self._tasks.attempt(workspace, attempt_id)
            task = await self._tasks.task(workspace, attempt.task_id)
        except NotFound:
            raise _refused(worker_id, attempt_id) from None
        work = task.spec.work
        if (
            attempt.worker_id != worker_id
            or attempt.finished_at is not None
            or task.current_attempt != attempt_id
            or not isinstance(work, FunctionCall)
            or work.version not in {None, number}
        ):
            raise _refused(worker_id, attempt_id)
        return await self._functions.version(workspace, work.function_id, number)


def _refused(worker_id: WorkerId, attempt_id: AttemptId) -> NotAllowed:
    return NotAllowed(f"worker {worker_id} does not hold {attempt_id} as a call of that version")
