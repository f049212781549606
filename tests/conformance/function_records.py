"""Functions, their versions and calls to put into a store."""

from itertools import count
from typing import Any, Final

from dispatching import end, placement

from fakes.specs import NOW, WS, spec
from taskyard.core.functions.functions import (
    BuildState,
    CallResult,
    Function,
    FunctionId,
    Language,
    Limits,
    Version,
    group_of,
)
from taskyard.core.functions.invocations import Allowance, CallOrigin, Invocation
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import FunctionCall, NewTask
from taskyard.ports.function_resources import NewInvocation

OTHER: Final = WorkspaceName("other")
_numbers = count(1)


def function(number: int = 1, name: str | None = None, **members: Any) -> Function:
    """A function that has no version yet."""
    values: dict[str, Any] = {
        "id": FunctionId(f"{number:024x}"),
        "workspace": WS,
        "name": name or f"f{number}",
        "language": Language.PYTHON,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Function(**(values | members))


async def created(store: Any, number: int = 1, name: str | None = None, **members: Any) -> Function:
    """A function that is stored."""
    made: Function = await store.functions.create(function(number, name, **members))
    return made


def version(of: Function, **members: Any) -> Version:
    """One that is about to be stored."""
    values: dict[str, Any] = {
        "function_id": of.id,
        "number": 0,
        "state": BuildState.PENDING,
        "bundle": "b" * 64,
        "size_bytes": 7,
        "language": of.language,
        "handler": "handler.py",
        "entry": "handle",
        "dependencies": ("left-pad==1",),
        "created_at": NOW,
        "created_by": "me",
    }
    return Version(**(values | members))


async def deployed(store: Any, of: Function, **members: Any) -> int:
    """Store a version and end its build well; answers with its number."""
    made = await store.functions.add_version(version(of, **members))
    await store.functions.set_build(of.id, made.number, BuildState.READY, NOW, goes_live=True)
    number: int = made.number
    return number


def call_task(of: Function, at: Instant = NOW, bound: int | None = None, **members: Any) -> NewTask:
    """The task of a call, bound to a version if one is given."""
    return NewTask(
        id=TaskId(f"call-{next(_numbers)}"),
        workspace=of.workspace,
        spec=spec(
            work=FunctionCall(of.id, of.name, bound), group=group_of(of.id, of.name), **members
        ),
        state=TaskState.QUEUED,
        created_at=at,
    )


def invocation(
    of: Function,
    call_id: str,
    at: Instant = NOW,
    allowances: tuple[Allowance, ...] = (),
    **origin: Any,
) -> NewInvocation:
    """A call that is about to be stored."""
    call = Invocation(call_id, of.workspace, of.id, at, CallOrigin(**origin), Limits(timeout_s=3))
    return NewInvocation(call_task(of, at), call, "me", allowances)


async def run(store: Any, workspace: WorkspaceName, task_id: TaskId, number: int = 1) -> str:
    """Have a call placed; the name of its attempt."""
    task = await store.tasks.task(workspace, task_id)
    name = f"{task_id}-{number}"
    placed, _ = await store.dispatch.place([placement(task_id, task.seq, name)], NOW)
    assert len(placed) == 1
    return name


async def answer(
    store: Any, task: NewTask, result: CallResult | None, blob: bytes | None = None
) -> None:
    """Have a call run and end well."""
    name = await run(store, task.workspace, task.id)
    _, refused = await end(store, AttemptState.SUCCEEDED, name, result=result, blob=blob)
    assert not refused
