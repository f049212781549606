"""What stays true when two clients open, fill, withdraw from and flush a list at the same time."""

from functools import partial
from typing import Any

import pytest
from dispatching import TOKEN, placement
from invariants import check_invariants
from racing import Clients, answers, refusals

from fakes.specs import NOW, WS, new_task
from taskyard.core.attempts import Ended
from taskyard.core.errors import Conflict, NotFound
from taskyard.core.ids import AttemptId, GroupName
from taskyard.core.instants import after
from taskyard.core.lists import ListKey, ListStatus
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import Command
from taskyard.ports.lists import Added, TooManyLists

pytestmark = pytest.mark.anyio
LIST = ListKey(WS, GroupName("list"))


@pytest.fixture
async def clients(complete_clients: Clients) -> Clients:
    """Every adapter that keeps lists, with one list."""
    await complete_clients.first.lists.open(LIST, "me", most=1000, concurrency_limit=None)
    return complete_clients


async def add(client: Any, key: ListKey = LIST, **members: Any) -> Added:
    """One more task, that is told its number."""
    new = new_task(workspace=key.workspace, group=key.group, **members)
    added: Added = await client.lists.add(key, new, "NUMBER", "me")
    return added


def placing(client: Any, added: Added) -> Any:
    """The call that dispatches a task."""
    plan = placement(added.task.id, added.stored.seq, f"attempt of {added.task.id}")
    return partial(client.dispatch.place, [plan], NOW)


async def shown(client: Any) -> dict[int, ListStatus]:
    """The list by number; no number is shown twice, and no task."""
    entries = await client.lists.entries(LIST)
    numbers = [one.number for one in entries]
    assert numbers == sorted(set(numbers))
    assert len({one.task_id for one in entries}) == len(entries)
    return {one.number: one.status for one in entries}


async def test_numbers_have_no_gaps_and_no_doubles(clients: Clients) -> None:
    """However many are added at once by both; every task is told its own."""

    async def several(client: Any) -> list[Added]:
        return [await add(client) for _ in range(10)]

    calls = [partial(several, client) for client in (clients.first, clients.second) * 4]
    added = [one for some in answers(await clients.race(*calls)) for one in some]
    assert sorted(one.number for one in added) == list(range(1, 81))
    for one in added:
        task = await clients.second.tasks.task(WS, one.task.id)
        assert isinstance(task.spec.work, Command)
        assert task.spec.work.env == {"NUMBER": str(one.number)}
        assert (await clients.first.lists.task(LIST, one.number)).id == one.task.id
    assert list(await shown(clients.first)) == list(range(1, 81))
    await check_invariants(clients.first)


async def test_numbers_follow_the_order_of_acceptance(clients: Clients) -> None:
    """A later number is a later position: who reads on from a number misses nothing."""
    calls = [partial(add, client) for client in (clients.first, clients.second) * 20]
    added = answers(await clients.race(*calls))
    by_number = sorted(added, key=lambda one: one.number)
    seqs = [one.stored.seq for one in by_number]
    assert seqs == sorted(set(seqs))
    await check_invariants(clients.first)


async def test_a_key_is_listed_once(clients: Clients) -> None:
    """Both add under one key: one has a number, the other used none up."""
    for number, one, other in clients.in_turns():
        outcomes = await clients.race(
            partial(add, one, idempotency_key=f"k{number}"),
            partial(add, other, idempotency_key=f"k{number}"),
        )
        assert refusals(outcomes) == [Conflict]
        (added,) = [outcome for outcome in outcomes if isinstance(outcome, Added)]
        assert added.number == number + 1
    assert list(await shown(clients.second)) == list(range(1, 13))
    await check_invariants(clients.first)


async def test_a_list_is_news_once(clients: Clients) -> None:
    """Both open it: it counts once against its owner, and has the one limit."""
    for number, one, other in clients.in_turns():
        key = ListKey(WS, GroupName(f"l{number}"))
        news = answers(
            await clients.race(
                partial(one.lists.open, key, "owner", most=number + 1, concurrency_limit=3),
                partial(other.lists.open, key, "owner", most=number + 1, concurrency_limit=3),
            )
        )
        assert sorted(news) == [False, True]
        assert (await other.groups.group(WS, key.group)).concurrency_limit == 3


async def test_the_allowance_of_an_owner_is_kept(clients: Clients) -> None:
    """With room for one more, one of two gets it; of many at once, as many as there is room for."""
    for number, one, other in clients.in_turns():
        keys = [ListKey(WS, GroupName(f"{number}{name}")) for name in "ab"]
        outcomes = await clients.race(
            partial(one.lists.open, keys[0], "owner", most=number + 1, concurrency_limit=2),
            partial(other.lists.open, keys[1], "owner", most=number + 1, concurrency_limit=2),
        )
        assert refusals(outcomes) == [TooManyLists]
        for key, outcome in zip(keys, outcomes, strict=True):
            limit = (await one.groups.group(WS, key.group)).concurrency_limit
            assert limit == (None if isinstance(outcome, TooManyLists) else 2)
    calls = [
        partial(
            client.lists.open,
            ListKey(WS, GroupName(f"{name}{number}")),
            "many",
            most=5,
            concurrency_limit=None,
        )
        for number in range(10)
        for name, client in (("x", clients.first), ("y", clients.second))
    ]
    assert len(refusals(await clients.race(*calls))) == 15


async def test_a_limit_somebody_sets_stays(clients: Clients) -> None:
    """Set by hand beside the opening with another limit: what was set by hand holds."""
    for number, one, other in clients.in_turns():
        key = ListKey(WS, GroupName(f"l{number}"))
        await one.lists.open(key, "me", most=1000, concurrency_limit=6)
        answers(
            await clients.race(
                partial(one.lists.open, key, "me", most=1000, concurrency_limit=7),
                partial(other.groups.set_group, WS, key.group, concurrency_limit=1),
            )
        )
        assert (await one.groups.group(WS, key.group)).concurrency_limit == 1


async def test_a_task_is_withdrawn_once(clients: Clients) -> None:
    """The other client finds no such task; its number is used by nobody else."""
    for _, one, other in clients.in_turns():
        added = await add(one)
        outcomes = await clients.race(
            partial(one.lists.withdraw, LIST, added.number, NOW, "me"),
            partial(other.lists.withdraw, LIST, added.number, NOW, "you"),
        )
        assert refusals(outcomes) == [NotFound]
        assert (await add(one)).number == added.number + 1
        assert (await one.tasks.task(WS, added.task.id)).state is TaskState.CANCELLED
    await check_invariants(clients.first)


async def test_a_task_is_withdrawn_or_dispatched(clients: Clients) -> None:
    """Withdrawn and never placed, or placed and still on the list."""
    for _, one, other in clients.in_turns():
        added = await add(one)
        withdrawn, (placed, _) = await clients.race(
            partial(one.lists.withdraw, LIST, added.number, NOW, "me"), placing(other, added)
        )
        assert isinstance(withdrawn, NotFound) == bool(placed)
        status = (await shown(other)).get(added.number)
        assert status == (ListStatus.RUNNING if placed else None)
    await check_invariants(clients.first)


async def test_what_was_dispatched_is_flushed_once(clients: Clients) -> None:
    """Two flush: every number is told by one of them, and a task that waits by neither."""
    for _, one, other in clients.in_turns():
        added = [await add(one) for _ in range(4)]
        for running in added[:3]:
            await placing(one, running)()
        outcomes = answers(
            await clients.race(partial(one.lists.flush, LIST), partial(other.lists.flush, LIST))
        )
        numbers = [number for flushed, _ in outcomes for number in flushed]
        running_ids = [task_id for _, running in outcomes for task_id in running]
        assert numbers == [one.number for one in added[:3]]
        assert running_ids == [one.task.id for one in added[:3]]
        assert await shown(other) == {added[3].number: ListStatus.QUEUED}
        await one.lists.withdraw(LIST, added[3].number, NOW, "me")
    await check_invariants(clients.first)


async def test_a_flush_takes_no_waiting_task(clients: Clients) -> None:
    """Dispatched before it and gone from the list, or after it and still there."""
    for _, one, other in clients.in_turns():
        added = await add(one)
        (numbers, running), (placed, _) = answers(
            await clients.race(partial(one.lists.flush, LIST), placing(other, added))
        )
        assert len(placed) == 1
        assert running == ([added.task.id] if numbers else [])
        left = {} if numbers else {added.number: ListStatus.RUNNING}
        assert await shown(other) == left
        await one.lists.flush(LIST)
    await check_invariants(clients.first)


async def test_a_task_that_ends_is_flushed_as_one_or_the_other(clients: Clients) -> None:
    """Told as running if its end came later; gone from the list either way."""
    for _, one, other in clients.in_turns():
        added = await add(one)
        ((placed,), _) = await placing(one, added)()
        report = Ended(placed.attempt.id, TOKEN, after(NOW, 1), AttemptState.SUCCEEDED)
        (numbers, running), (changes, _) = answers(
            await clients.race(
                partial(one.lists.flush, LIST),
                partial(other.dispatch.apply, [report], after(NOW, 1), [0.5]),
            )
        )
        assert numbers == [added.number]
        assert running in ([], [added.task.id])
        assert [change.kind for change in changes] == ["succeeded"]
        assert await shown(one) == {}
    await check_invariants(clients.first)


async def test_a_listed_task_is_deleted_or_forgotten(clients: Clients) -> None:
    """Both take it off the list; no entry without a task stays behind."""
    for _, one, other in clients.in_turns():
        added = await add(one)
        await one.tasks.cancel(WS, [added.task.id], NOW, "me")
        answers(
            await clients.race(
                partial(one.tasks.delete, WS, [added.task.id], NOW),
                partial(other.lists.forget, LIST, [added.number]),
            )
        )
        assert await shown(one) == {}
        with pytest.raises(NotFound):
            await other.lists.task(LIST, added.number)
    await check_invariants(clients.first)


async def test_adding_beside_a_flush_keeps_what_was_added(clients: Clients) -> None:
    """It waits, so it stays; and its number comes after all that were given."""
    last = 0
    for number, one, other in clients.in_turns():
        added, _ = answers(await clients.race(partial(add, one), partial(other.lists.flush, LIST)))
        assert added.number == last + 1
        last = added.number
        assert await shown(other) == {last: ListStatus.QUEUED}
        plan = placement(added.task.id, added.stored.seq, AttemptId(f"a{number}"))
        await one.dispatch.place([plan], NOW)
        await other.lists.flush(LIST)
    await check_invariants(clients.first)
