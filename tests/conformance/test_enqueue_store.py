"""What every store promises of tasks of lists, jobs and calls stored with their attempt."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement
from function_records import created, invocation
from invariants import check_invariants
from job_world import key, put
from racing import Clients

from fakes.specs import NOW, WS, new_task, spec
from taskyard.core.ids import AttemptId, GroupName, IncarnationId, TaskId
from taskyard.core.instants import after
from taskyard.core.jobs import JobDefinition
from taskyard.core.lists import ListKey, ListStatus
from taskyard.core.states import TaskState
from taskyard.ports.dispatching import PlacedAttempt, Placement
from taskyard.ports.jobs import Start

pytestmark = pytest.mark.anyio
LIST = ListKey(WS, GroupName("list"))


async def add_to_list(store: Any, plan: Placement) -> tuple[TaskId, bool]:
    """Store a task of a list; its id, and whether it has an attempt."""
    await store.lists.open(LIST, "me", most=10, concurrency_limit=None)
    added = await store.lists.add(LIST, new_task(group="list", size="small"), "N", "me", plan)
    return added.task.id, added.stored.attempt is not None


async def put_job(store: Any, plan: Placement) -> tuple[TaskId, bool]:
    """Store a job that starts at once; its execution's task, and whether it has an attempt."""
    made = JobDefinition(spec=spec(group=key().group))
    stored = await store.jobs.put(key(), made, Start(None), "ticket", (), NOW, "me", plan)
    placed: PlacedAttempt | None = stored.placed
    kinds = [change.kind for change in stored.changes]
    assert kinds == (["submitted"] if placed is None else ["submitted", "assigned"])
    assert placed is None or placed.task.id == stored.execution
    return stored.execution, placed is not None


async def issue_call(store: Any, plan: Placement) -> tuple[TaskId, bool]:
    """Store a call of a function; its task, and whether it has an attempt."""
    new = invocation(await created(store, 1), "call-1")
    stored = await store.invocations.issue(new, plan)
    return new.task.id, stored.attempt is not None


WAYS = {"list": add_to_list, "job": put_job, "call": issue_call}
Way = Callable[[Any, Placement], Awaitable[tuple[TaskId, bool]]]


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """Every way to store a task but a plain submit."""
    found: Way = request.param
    return found


async def test_it_runs_at_once(complete_clients: Clients, way: Way) -> None:
    """As if it had been placed a moment later; and it can end."""
    store = complete_clients.first
    task_id, placed = await way(store, placement(TaskId(""), 0))
    assert placed
    task = await store.tasks.task(WS, task_id)
    assert (task.state, task.attempt_count) == (TaskState.RUNNING, 1)
    (attempt,) = await store.tasks.attempts(WS, task_id)
    assert (attempt.id, attempt.worker_id, attempt.lease_token) == ("a", W1.id, TOKEN)
    events = await store.tasks.events(WS, task_id, 0, 10)
    assert [one.kind for one in events] == ["submitted", "assigned"]
    await check_invariants(store)
    assert (await end(store))[0] == ["succeeded"]
    await check_invariants(store)


async def test_it_waits_if_its_worker_is_gone(complete_clients: Clients, way: Way) -> None:
    """Like any other."""
    store = complete_clients.first
    gone = placement(TaskId(""), 0, incarnation=IncarnationId("life-0"))
    task_id, placed = await way(store, gone)
    assert not placed
    task = await store.tasks.task(WS, task_id)
    assert (task.state, task.attempt_count) == (TaskState.QUEUED, 0)
    assert len(await store.dispatch.ready(WS, task.spec.group, None, 10)) == 1
    await check_invariants(store)


async def test_a_list_starts_its_tasks_in_order(complete_clients: Clients) -> None:
    """Also where one waits that was stored a moment ago, and the planner has not heard of it."""
    store = complete_clients.first
    await store.lists.open(LIST, "me", most=10, concurrency_limit=None)
    task = new_task(group="list", size="small")
    await complete_clients.second.lists.add(LIST, task, "N", "me")
    _, is_placed = await add_to_list(store, placement(TaskId(""), 0))
    assert not is_placed
    assert [one.status for one in await store.lists.entries(LIST)] == [ListStatus.QUEUED] * 2


async def test_a_list_shows_it_as_running(complete_clients: Clients) -> None:
    """It cannot be withdrawn any more."""
    store = complete_clients.first
    task_id, _ = await add_to_list(store, placement(TaskId(""), 0))
    (entry,) = await store.lists.entries(LIST)
    assert (entry.task_id, entry.status) == (task_id, ListStatus.RUNNING)


async def test_a_job_that_starts_later_needs_no_attempt(complete_clients: Clients) -> None:
    """The placement counts for nothing."""
    store = complete_clients.first
    made = JobDefinition(spec=spec(group=key().group))
    stored = await store.jobs.put(
        key(), made, Start(after(NOW, 5)), "ticket", (), NOW, "me", placement(TaskId(""), 0)
    )
    assert (stored.execution, stored.placed) == (None, None)
    assert await store.dispatch.running() == []


async def test_a_job_that_is_put_again_has_an_attempt_for_each_execution(
    complete_clients: Clients,
) -> None:
    """The earlier one goes on."""
    store = complete_clients.first
    first, _ = await put_job(store, placement(TaskId(""), 0))
    again = placement(TaskId(""), 0, "b")
    second, placed = await put_job(store, again)
    assert placed
    assert first != second
    running = {one.attempt.id for one in await store.dispatch.running()}
    assert running == {AttemptId("a"), AttemptId("b")}
    await put(store, key())
    await check_invariants(store)
