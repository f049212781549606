"""What stays true of calls when two clients issue, settle and fire at the same time."""

from functools import partial
from typing import Any

import pytest
from function_records import answer, created, invocation
from resource_records import schedule, trigger
from rivals import Rivals, winner

from fakes.specs import NOW, WS
from taskyard.core.errors import Conflict, TaskyardError
from taskyard.core.functions.functions import CallResult, Function
from taskyard.core.functions.invocations import Allowance, AllowanceSpent
from taskyard.core.instants import after
from taskyard.core.states import TaskState

pytestmark = pytest.mark.anyio
LATER = after(NOW, 60)
OK = CallResult(201, (), b"ok", 2)
ONE_LEFT = Allowance("k", "p", 1)


@pytest.fixture
async def functions(store: Any) -> list[Function]:
    """Two functions of one workspace."""
    return [await created(store, 1), await created(store, 2)]


async def check(store: Any, *calls: str) -> None:
    """There are these calls and no others, each with one task that waits."""
    views = await store.invocations.views(WS, None, after=None, offset=0, limit=99)
    assert sorted(one.call.id for one in views) == sorted(calls)
    assert len({one.task_id for one in views}) == len(calls)
    counted = await store.tasks.counts(WS)
    assert counted.get(TaskState.QUEUED, 0) == len(calls)
    counts = await store.invocations.counts(WS, NOW, NOW)
    assert (counts.open, counts.total) == (len(calls), len(calls))


async def test_the_last_allowed_call_is_issued_once(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """The other one is told that nothing is left, and leaves no task."""
    calls = [invocation(functions[0], name, allowances=(ONE_LEFT,)) for name in "ab"]
    outcomes = await rivals.race(
        lambda one: one.invocations.issue(calls[0]), lambda one: one.invocations.issue(calls[1])
    )
    won = winner(outcomes, AllowanceSpent)
    (name,) = (one.call.id for one in calls if one.task.id == won.task_id)
    await check(store, name)


async def test_two_keys_of_allowances_are_counted_right(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """In whichever order calls name them; one that fails at the second uses none of the first."""
    tight, wide = Allowance("tight", "p", 3), Allowance("wide", "p", 5)

    async def issue_all(store: Any, prefix: str, allowances: tuple[Allowance, ...]) -> int:
        count = 0
        for number in range(4):
            new = invocation(functions[0], f"{prefix}{number}", allowances=allowances)
            try:
                await store.invocations.issue(new)
                count += 1
            except AllowanceSpent:
                continue
        return count

    outcomes = await rivals.race(
        lambda one: issue_all(one, "a", (tight, wide)),
        lambda one: issue_all(one, "b", (wide, tight)),
    )
    assert sum(outcomes) == 3
    assert (await store.invocations.counts(WS, NOW, NOW)).total == 3
    await store.invocations.check([Allowance("wide", "p", 4)])
    with pytest.raises(AllowanceSpent):
        await store.invocations.check([Allowance("wide", "p", 3)])


async def test_one_of_two_gets_an_id(store: Any, functions: list[Function], rivals: Rivals) -> None:
    """The other one meets a conflict."""
    calls = [invocation(of, "same") for of in functions]
    outcomes = await rivals.race(
        lambda one: one.invocations.issue(calls[0]), lambda one: one.invocations.issue(calls[1])
    )
    won = winner(outcomes, Conflict)
    assert (await store.invocations.view("same")).task_id == won.task_id
    await check(store, "same")


async def used_once(name: str, store: Any) -> bool:
    """Whether a name was not used before."""
    is_new: bool = await store.invocations.use_once(name, "2024-01-02", "2024-01-01")
    return is_new


async def test_a_name_is_used_by_one(rivals: Rivals) -> None:
    """However many ask."""
    for name in "abcd":
        outcomes = await rivals.race(partial(used_once, name))
        assert sorted(outcomes) == [False, True]


async def test_a_call_is_settled_once(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """What one of them issues follows, and nothing else."""
    one, two = functions
    await store.function_resources.add(trigger("t", one, two))
    first = invocation(one, "c")
    await store.invocations.issue(first)
    await answer(store, first.task, OK)
    follow = [invocation(two, name) for name in "ab"]
    outcomes = await rivals.race(
        lambda one: one.invocations.complete("c", [follow[0]]),
        lambda one: one.invocations.complete("c", [follow[1]]),
    )
    assert sorted(len(changes) for changes in outcomes) == [0, 1]
    ((change,),) = (changes for changes in outcomes if changes)
    assert change.task_id in {new.task.id for new in follow}
    assert (await store.invocations.counts(WS, NOW, NOW)).total == 2
    assert await store.invocations.unsettled(0, 10) == []


async def test_settling_two_calls_with_one_follower_left(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """Both are settled; one of them is followed."""
    one, two = functions
    await store.function_resources.add(trigger("t", one, two))
    for name in ("c0", "c1"):
        new = invocation(one, name)
        await store.invocations.issue(new)
        await answer(store, new.task, OK)
    follow = [invocation(two, name, allowances=(ONE_LEFT,)) for name in "ab"]
    outcomes = await rivals.race(
        lambda one: one.invocations.complete("c0", [follow[0]]),
        lambda one: one.invocations.complete("c1", [follow[1]]),
    )
    assert sorted(len(changes) for changes in outcomes) == [0, 1]
    assert await store.invocations.unsettled(0, 10) == []


async def test_a_new_trigger_misses_no_call(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """One that is issued at the same time is settled at its end."""
    one, two = functions
    new = invocation(one, "c")
    outcomes = await rivals.race(
        lambda store: store.invocations.issue(new),
        lambda store: store.function_resources.add(trigger("t", one, two)),
    )
    assert not [one for one in outcomes if isinstance(one, TaskyardError)]
    await answer(store, new.task, OK)
    assert [one.call.id for one in await store.invocations.unsettled(0, 10)] == ["c"]


async def test_schedules_share_what_is_left(
    store: Any, functions: list[Function], rivals: Rivals
) -> None:
    """Both go on to their next moment; one of them calls."""
    made = [schedule(name, functions[0]) for name in "ab"]
    for entry in made:
        await store.function_resources.add(entry, NOW)
    calls = [invocation(functions[0], name, allowances=(ONE_LEFT,)) for name in "ab"]
    outcomes = await rivals.race(
        lambda one: one.invocations.fire(made[0], NOW, LATER, calls[0]),
        lambda one: one.invocations.fire(made[1], NOW, LATER, calls[1]),
    )
    assert [one is None for one in outcomes].count(True) == 1
    await check(store, "a" if outcomes[0] is not None else "b")
    assert await store.function_resources.due(NOW, 10) == []
    assert len(await store.function_resources.due(LATER, 10)) == 2
