"""What every store promises of calls under ids of their own, and of what follows them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dispatching import TOKEN, W1, end
from function_records import OTHER, answer, created, invocation, run
from msgspec.structs import replace
from resource_records import schedule, trigger

from fakes.specs import NOW, WS
from taskyard.core.attempts import Progress, Started
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.functions.functions import CallResult, Function
from taskyard.core.functions.invocations import Allowance, AllowanceSpent, CallCounts
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.instants import DAY, Instant, after
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.ports.function_resources import NewInvocation

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)
MIDNIGHT = Instant(NOW - NOW % DAY)
WEEK_AGO = Instant(MIDNIGHT - 6 * DAY)
OK = CallResult(201, (), b"ok", 2)


@pytest.fixture
async def functions(store: Any) -> list[Function]:
    """Two functions of one workspace, and one of another."""
    return [
        await created(store, 1),
        await created(store, 2),
        await created(store, 3, workspace=OTHER),
    ]


async def issued(store: Any, of: Function, call_id: str, **members: Any) -> NewInvocation:
    """A call that is stored."""
    new = invocation(of, call_id, **members)
    await store.invocations.issue(new)
    return new


async def ended(store: Any, of: Function, call_id: str, **members: Any) -> NewInvocation:
    """A call that ended well."""
    new = await issued(store, of, call_id, **members)
    await answer(store, new.task, OK)
    return new


async def listed(
    store: Any, workspace: WorkspaceName = WS, function_id: str | None = None, **members: Any
) -> list[str]:
    """The ids of calls."""
    values: dict[str, Any] = {"after": None, "offset": 0, "limit": 10}
    found = await store.invocations.views(workspace, function_id, **(values | members))
    return [one.call.id for one in found]


async def total(store: Any, workspace: WorkspaceName = WS) -> int:
    """How many calls there ever were."""
    counts = await store.invocations.counts(workspace, MIDNIGHT, WEEK_AGO)
    assert isinstance(counts, CallCounts)
    return counts.total


async def unsettled(store: Any, after_seq: int = 0, limit: int = 10) -> list[str]:
    """The ids of ended calls whose followers are not issued yet."""
    return [one.call.id for one in await store.invocations.unsettled(after_seq, limit)]


async def test_a_call_is_stored_with_its_task(store: Any, functions: list[Function]) -> None:
    """It is found in any workspace, as it was issued."""
    new = invocation(functions[0], "c", endpoint_id="e", links=2)
    change = (await store.invocations.issue(new)).change(new.task)
    assert (change.kind, change.task_id, change.workspace) == ("submitted", new.task.id, WS)
    assert (await store.tasks.task(WS, new.task.id)).state is TaskState.QUEUED
    view = await store.invocations.view("c")
    assert view.call == new.call
    assert (view.task_id, view.state, view.is_over) == (new.task.id, TaskState.QUEUED, False)
    told = view.reason, view.message, view.finished_at, view.assigned_at, view.worker_id
    assert told == (None, None, None, None, None)
    assert (view.started, view.fraction, view.status) == (False, 0.0, None)
    with pytest.raises(NotFound) as caught:
        await store.invocations.view("none")
    assert (caught.value.kind, caught.value.key) == ("call", "none")


async def test_a_view_says_how_far_a_call_is(store: Any, functions: list[Function]) -> None:
    """Given to a worker, running, over."""
    new = await issued(store, functions[0], "c")
    name = AttemptId(await run(store, WS, new.task.id))
    view = await store.invocations.view("c")
    assert (view.state, view.assigned_at, view.worker_id) == (TaskState.RUNNING, NOW, W1.id)
    assert not view.started
    reports = [Started(name, TOKEN, NOW), Progress(name, TOKEN, NOW, 0.5, "half")]
    await store.dispatch.apply(reports, NOW, [0.5, 0.5])
    view = await store.invocations.view("c")
    assert (view.started, view.fraction, view.status) == (True, 0.5, None)
    bad = CallResult(503, (), b"", 0)
    await end(
        store, AttemptState.FAILED, name, reason=Reason.FUNCTION_ERROR, message="M", result=bad
    )
    view = await store.invocations.view("c")
    assert (view.is_over, view.reason, view.message) == (True, Reason.FUNCTION_ERROR, "M")
    assert (view.status, view.finished_at) == (503, after(NOW, 3))


async def test_an_id_is_given_once(store: Any, functions: list[Function]) -> None:
    """Nothing of a second call under it is left, nor of one whose task is another call's."""
    first = await issued(store, functions[0], "c")
    allowance = Allowance("k", "p", 1)
    second = invocation(functions[1], "c", allowances=(allowance,))
    again = invocation(functions[0], "d", allowances=(allowance,))
    keyed = replace(first.task.spec, idempotency_key="k")
    third = replace(again, task=replace(again.task, spec=keyed))
    with pytest.raises(Conflict):
        await store.invocations.issue(second)
    await store.invocations.issue(third)
    other = invocation(functions[0], "e")
    with pytest.raises(Conflict):
        await store.invocations.issue(replace(other, task=replace(other.task, spec=keyed)))
    assert await listed(store) == ["c", "d"]
    for gone in (second, other):
        with pytest.raises(NotFound):
            await store.tasks.task(WS, gone.task.id)


async def test_calls_are_listed_in_the_order_they_were_issued(
    store: Any, functions: list[Function]
) -> None:
    """Of a workspace or a function, in pages."""
    one, two, foreign = functions
    for name, of, seconds in (("a", one, 5), ("b", two, 1), ("c", one, 5), ("d", one, 3)):
        await issued(store, of, name, at=after(NOW, seconds))
    await issued(store, foreign, "e")
    assert await listed(store) == ["b", "d", "a", "c"]
    assert await listed(store, function_id=one.id) == ["d", "a", "c"]
    assert await listed(store, OTHER) == ["e"]
    assert await listed(store, OTHER, one.id) == []
    assert await listed(store, limit=2) == ["b", "d"]
    assert await listed(store, offset=1, limit=2) == ["d", "a"]
    for name, behind in (("d", ["a", "c"]), ("a", ["c"]), ("c", [])):
        view = await store.invocations.view(name)
        assert await listed(store, after=view) == behind
        assert await listed(store, function_id=one.id, after=view, offset=1) == behind[1:]


async def test_no_more_calls_than_an_allowance(store: Any, functions: list[Function]) -> None:
    """Checking uses nothing up; what is refused is stored nowhere, and counts nowhere."""
    few, many, free = Allowance("few", "may", 2), Allowance("many", "may", 9), Allowance("f", "may")
    for number in range(2):
        await store.invocations.check([few, many])
        await issued(store, functions[0], f"c{number}", allowances=(many, few, free))
    for _ in range(2):
        with pytest.raises(AllowanceSpent) as caught:
            await store.invocations.check([free, many, few])
        assert caught.value.allowance == few
        with pytest.raises(AllowanceSpent):
            await issued(store, functions[0], "d", allowances=(many, few))
    assert await total(store) == 2
    await store.invocations.check([replace(many, limit=3), replace(free, limit=3)])
    for spent in (replace(many, limit=2), replace(free, limit=2), replace(free, limit=0)):
        with pytest.raises(AllowanceSpent):
            await store.invocations.check([spent])


async def test_another_period_begins_at_nothing(store: Any, functions: list[Function]) -> None:
    """Each key counts for itself."""
    may, june = Allowance("k", "may", 1), Allowance("k", "june", 2)
    await issued(store, functions[0], "a", allowances=(may,))
    await issued(store, functions[0], "b", allowances=(june,))
    await issued(store, functions[0], "c", allowances=(june,))
    with pytest.raises(AllowanceSpent):
        await store.invocations.check([june])
    await store.invocations.check([Allowance("other", "may", 1)])


async def test_a_name_is_used_once_until_its_day_is_over(store: Any) -> None:
    """Day by day; other names count for themselves."""
    use = store.invocations.use_once
    assert await use("n", "2024-01-02", "2024-01-01")
    assert await use("m", "2024-01-01", "2024-01-01")
    assert not await use("n", "2024-01-09", "2024-01-01")
    assert not await use("n", "2024-01-09", "2024-01-02")
    assert await use("m", "2024-01-02", "2024-01-02")
    assert await use("n", "2024-01-03", "2024-01-03")


async def test_a_schedule_goes_on_with_its_call(store: Any, functions: list[Function]) -> None:
    """Once for each moment, also without a call, and without one that is not allowed any more."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    fire = store.invocations.fire
    change = await fire(made, NOW, LATER, invocation(functions[0], "a", schedule_id="s"))
    assert change.task_id == (await store.invocations.view("a")).task_id
    assert await fire(made, NOW, LATER, invocation(functions[0], "b")) is None
    assert await store.function_resources.next_due() == LATER
    assert await fire(made, LATER, after(LATER, 1), None) is None
    spent = invocation(functions[0], "c", allowances=(Allowance("k", "p", 0),))
    assert await fire(made, after(LATER, 1), after(LATER, 2), spent) is None
    assert await store.function_resources.next_due() == after(LATER, 2)
    change = await fire(made, after(LATER, 2), None, invocation(functions[0], "d"))
    assert change is not None
    assert await store.function_resources.next_due() is None
    assert await listed(store) == ["a", "d"]


async def test_a_firing_ends_that_a_schedule_is_put_aside(
    store: Any, functions: list[Function]
) -> None:
    """Not one that comes too late."""
    made = schedule("s", functions[0])
    await store.function_resources.add(made, NOW)
    await store.parking.park("schedule", "s", WS, "no reason", NOW)
    (parked,) = await store.parking.parked(WS, 10)
    assert await store.function_resources.due(LATER, 10) == []
    await store.invocations.fire(made, NOW, LATER, None)
    assert await store.parking.parked(WS, 10) == [parked]
    await store.invocations.fire(made, parked.retry_at, after(parked.retry_at, 1), None)
    assert await store.parking.parked(WS, 10) == []


async def test_what_follows_a_call_is_issued_once(store: Any, functions: list[Function]) -> None:
    """All of it but what is not allowed any more; nothing follows a call that is not known."""
    one, two, _ = functions
    await store.function_resources.add(trigger("t", one, two))
    await ended(store, one, "c")
    spent = Allowance("k", "p", 0)
    follow = [
        invocation(two, "d", trigger_id="t", links=1),
        invocation(two, "e", allowances=(spent,)),
        invocation(two, "f"),
    ]
    assert await unsettled(store) == ["c"]
    changes = await store.invocations.complete("c", follow)
    assert [one.task_id for one in changes] == [follow[0].task.id, follow[2].task.id]
    assert await unsettled(store) == []
    assert await store.invocations.complete("c", [invocation(two, "g")]) == []
    assert await store.invocations.complete("none", [invocation(two, "h")]) == []
    assert await listed(store) == ["c", "d", "f"]


async def test_calls_of_followed_functions_are_settled_at_their_end(
    store: Any, functions: list[Function]
) -> None:
    """In order, of all workspaces; those that had ended before there was a trigger are not."""
    one, two, foreign = functions
    await ended(store, one, "past")
    open_call = await issued(store, one, "open")
    assert await unsettled(store) == []
    await store.function_resources.add(trigger("t", one, two))
    await store.function_resources.add(trigger("t", foreign, foreign))
    await ended(store, two, "free")
    await ended(store, foreign, "foreign")
    cancelled = await issued(store, one, "cancelled")
    await store.tasks.cancel(WS, [cancelled.task.id], NOW, "me")
    assert await unsettled(store) == ["foreign", "cancelled"]
    await answer(store, open_call.task, OK)
    assert await unsettled(store) == ["open", "foreign", "cancelled"]
    assert await unsettled(store, limit=2) == ["open", "foreign"]
    (first,) = await store.invocations.unsettled(0, 1)
    assert (first.status, first.is_over) == (201, True)
    assert await unsettled(store, first.seq) == ["foreign", "cancelled"]


async def test_calls_are_counted(store: Any, functions: list[Function]) -> None:
    """Of a workspace, a function or an endpoint: today's, the week's, open ones, and all."""
    one, two, foreign = functions
    for number, at in enumerate((WEEK_AGO - 1, WEEK_AGO, MIDNIGHT - 1, MIDNIGHT, NOW)):
        of, endpoint_id = (one, "e") if number % 2 else (two, None)
        name = f"c{number}"
        await ended(store, of, name, at=Instant(at), endpoint_id=endpoint_id)
    await issued(store, one, "open", endpoint_id="e")
    await issued(store, foreign, "foreign", endpoint_id="other")

    async def counts(workspace: WorkspaceName = WS, **of: Any) -> CallCounts:
        found: CallCounts = await store.invocations.counts(workspace, MIDNIGHT, WEEK_AGO, **of)
        return found

    assert await counts() == CallCounts(today=3, week=5, open=1, total=6)
    assert await counts(function_id=one.id) == CallCounts(2, 3, 1, 3)
    assert await counts(endpoint_id="e") == CallCounts(2, 3, 1, 3)
    assert await counts(function_id=two.id) == CallCounts(1, 2, 0, 3)
    assert await counts(OTHER) == CallCounts(1, 1, 1, 1)
    assert await counts(endpoint_id="none") == CallCounts(0, 0, 0, 0)
    ids = [TaskId((await store.invocations.view(f"c{number}")).task_id) for number in range(5)]
    await store.tasks.delete(WS, ids, NOW)
    assert await listed(store) == ["open"]
    assert await counts() == CallCounts(today=3, week=5, open=1, total=6)
    assert await counts(function_id=one.id) == CallCounts(2, 3, 1, 3)
    assert await counts(endpoint_id="e") == CallCounts(2, 3, 1, 3)


async def test_calls_outlive_the_store(
    store: Any, functions: list[Function], reopen: Callable[[], Awaitable[Any]]
) -> None:
    """What is spent or used stays so."""
    allowance = Allowance("k", "p", 1)
    await issued(store, functions[0], "c", allowances=(allowance,))
    await store.invocations.use_once("n", "2024-01-02", "2024-01-01")
    before = await store.invocations.view("c")
    again = await reopen()
    assert await again.invocations.view("c") == before
    with pytest.raises(AllowanceSpent):
        await again.invocations.check([allowance])
    assert not await again.invocations.use_once("n", "2024-01-02", "2024-01-01")
