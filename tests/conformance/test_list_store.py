"""What every list store promises, on every adapter."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from fakes.specs import NOW, WS, new_task
from fakes.stores import COMPLETE_STORES, opened_as
from taskyard.core.attempts import Ended
from taskyard.core.errors import Conflict, InvalidInput, NotFound
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    IncarnationId,
    LeaseToken,
    WorkerId,
    WorkspaceName,
)
from taskyard.core.instants import after
from taskyard.core.lists import ListEntry, ListKey, ListStatus
from taskyard.core.resources import Capacity
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import Command
from taskyard.ports.dispatching import Placement, WorkerRecord
from taskyard.ports.lists import Added, TooManyLists

pytestmark = pytest.mark.anyio
LIST = ListKey(WS, GroupName("list"))
SAME_NAME = ListKey(WorkspaceName("other"), GroupName("list"))
W1 = WorkerRecord(
    WorkerId("w1"), IncarnationId("life-1"), "h", "1", Capacity(9, 9, 9), ("command",), NOW, NOW
)
LEASE = LeaseToken("lease")


@pytest.fixture(params=COMPLETE_STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A store of each kind with a worker and two lists."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    for key in (LIST, SAME_NAME):
        await store.lists.open(key, "me", most=10, concurrency_limit=6)
    yield store
    await store.close()


async def add(store: Any, key: ListKey = LIST, **members: Any) -> Added:
    """One more task."""
    where: dict[str, Any] = {"workspace": key.workspace, "group": key.group, "size": "small"}
    new = new_task(**{**where, "name": "one more", **members})
    added: Added = await store.lists.add(key, new, "NUMBER", "me")
    return added


async def place(store: Any, added: Added) -> AttemptId:
    """Dispatch a task."""
    attempt_id = AttemptId(f"attempt of {added.task.id}")
    placement = Placement(
        added.task.id,
        added.stored.seq,
        attempt_id,
        LEASE,
        after(NOW, 10),
        W1.id,
        W1.incarnation,
    )
    (_,), _ = await store.dispatch.place([placement], NOW)
    return attempt_id


async def end(store: Any, attempt_id: AttemptId, state: AttemptState) -> None:
    """Report an end."""
    reason = None if state is AttemptState.SUCCEEDED else Reason.KILLED
    report = Ended(attempt_id, LEASE, after(NOW, 2), state, reason=reason)
    _, refused = await store.dispatch.apply([report], after(NOW, 3), [0.5])
    assert not refused


async def shown(store: Any, key: ListKey = LIST) -> dict[int, ListStatus]:
    """The list by number."""
    entries: list[ListEntry] = await store.lists.entries(key)
    numbers = [one.number for one in entries]
    assert numbers == sorted(set(numbers))
    return {one.number: one.status for one in entries}


@pytest.mark.parametrize("name", ["a\0b", "a\ufffdb"])
async def test_names_are_listed_as_they_were_given(store: Any, name: str) -> None:
    """Columns have a NUL replaced; what is told of a task and of its list is the same."""
    await add(store, name=name)
    (entry,) = await store.lists.entries(LIST)
    assert entry.name == name
    assert (await store.tasks.task(WS, entry.task_id)).spec.name == name


async def test_opening_is_news_once(store: Any) -> None:
    """The group gets the limit, and a new one when that changes; a pause stays."""
    key = ListKey(WS, GroupName("news"))
    assert await store.lists.open(key, "me", most=10, concurrency_limit=6)
    assert not await store.lists.open(key, "me", most=10, concurrency_limit=6)
    await store.groups.set_group(WS, key.group, paused=True)
    assert await store.lists.open(key, "me", most=10, concurrency_limit=7)
    record = await store.groups.group(WS, key.group)
    assert (record.concurrency_limit, record.paused) == (7, True)


async def test_a_limit_that_somebody_set_stays(store: Any) -> None:
    """Whenever the list is opened again, also with another limit; lifted ones stay lifted."""
    key = ListKey(WS, GroupName("limited"))
    await store.lists.open(key, "me", most=10, concurrency_limit=6)
    await store.groups.set_group(WS, key.group, concurrency_limit=2)
    for limit in (6, 7):
        assert not await store.lists.open(key, "me", most=10, concurrency_limit=limit)
        assert (await store.groups.group(WS, key.group)).concurrency_limit == 2
    await store.groups.set_group(WS, key.group, clear_limit=True)
    assert not await store.lists.open(key, "me", most=10, concurrency_limit=6)
    assert (await store.groups.group(WS, key.group)).concurrency_limit is None
    early = ListKey(WS, GroupName("before its list"))
    await store.groups.set_group(WS, early.group, concurrency_limit=1)
    assert await store.lists.open(early, "me", most=10, concurrency_limit=6)
    assert (await store.groups.group(WS, early.group)).concurrency_limit == 1


async def test_lists_of_an_owner_are_limited(store: Any) -> None:
    """Known ones open forever; other owners and other workspaces count apart; nothing is left."""
    second = ListKey(WS, GroupName("second"))
    third = ListKey(WS, GroupName("third"))
    await store.lists.open(second, "me", most=2, concurrency_limit=None)
    with pytest.raises(TooManyLists):
        await store.lists.open(third, "me", most=2, concurrency_limit=5)
    assert (await store.groups.group(WS, third.group)).concurrency_limit is None
    assert not await store.lists.open(second, "me", most=1, concurrency_limit=None)
    assert await store.lists.open(third, "you", most=1, concurrency_limit=None)
    elsewhere = ListKey(SAME_NAME.workspace, GroupName("second"))
    assert await store.lists.open(elsewhere, "me", most=2, concurrency_limit=None)


async def test_numbers_count_from_one_in_each_list(store: Any) -> None:
    """They are unique and without a gap, also when asked for at once."""
    numbers: dict[ListKey, list[int]] = {LIST: [], SAME_NAME: []}

    async def one(key: ListKey) -> None:
        added = await add(store, key)
        assert isinstance(added.task.spec.work, Command)
        assert added.task.spec.work.env == {"NUMBER": str(added.number)}
        assert added.task.id == added.stored.task_id
        numbers[key].append(added.number)

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(one, LIST)
            tasks.start_soon(one, SAME_NAME)
    for key, given in numbers.items():
        assert sorted(given) == list(range(1, 41))
        assert list(await shown(store, key)) == list(range(1, 41))


async def test_entries_say_what_tasks_are(store: Any) -> None:
    """Number, identity, name and size; a task without either has empty ones."""
    first = await add(store)
    second = await add(store, name=None, size=None)
    entries = await store.lists.entries(LIST)
    assert entries == [
        ListEntry(1, first.stored.seq, first.task.id, "one more", "small"),
        ListEntry(2, second.stored.seq, second.task.id, "", ""),
    ]
    assert (await store.lists.task(LIST, 1)).id == first.task.id


async def test_adding_that_fails_uses_no_number_up(store: Any) -> None:
    """Neither when the task cannot be stored, nor when there is no such list."""
    for _ in range(2):
        with pytest.raises(InvalidInput, match="Unicode"):
            await add(store, name="\ud800")
    with pytest.raises(NotFound):
        await add(store, ListKey(WS, GroupName("unknown")))
    assert await shown(store) == {}
    assert (await add(store)).number == 1


async def test_a_known_key_adds_nothing(store: Any) -> None:
    """A list numbers new tasks only; no number is used up, and others who add are not disturbed."""
    first = await add(store, idempotency_key="k")
    outcomes: list[object] = []

    async def one(**members: Any) -> None:
        try:
            outcomes.append((await add(store, **members)).number)
        except Conflict as error:
            outcomes.append(str(first.task.id) in str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(one, idempotency_key="k"))
        tasks.start_soon(one)
        tasks.start_soon(partial(one, idempotency_key="k"))
    assert sorted(outcomes, key=str) == [2, True, True]
    assert await shown(store) == {1: ListStatus.QUEUED, 2: ListStatus.QUEUED}


async def test_statuses_follow_tasks(store: Any) -> None:
    """Queued, running, completed, failed; killed while running is failed, while waiting is gone."""
    tasks = [await add(store) for _ in range(5)]
    attempts = [await place(store, one) for one in tasks[:3]]
    await end(store, attempts[0], AttemptState.SUCCEEDED)
    await store.tasks.cancel(WS, [tasks[1].task.id, tasks[3].task.id], NOW, "me")
    await end(store, attempts[1], AttemptState.KILLED)
    assert await shown(store) == {
        1: ListStatus.COMPLETED,
        2: ListStatus.FAILED,
        3: ListStatus.RUNNING,
        5: ListStatus.QUEUED,
    }
    with pytest.raises(NotFound):
        await store.lists.task(LIST, 4)


async def test_withdrawn_task_is_cancelled_and_its_number_gone(store: Any) -> None:
    """It cannot be placed any more; numbers go on counting."""
    first = await add(store)
    task_id, changes = await store.lists.withdraw(LIST, 1, NOW, "me")
    assert task_id == first.task.id
    assert [(one.task_id, one.state) for one in changes] == [(task_id, TaskState.CANCELLED)]
    assert (await store.tasks.task(WS, task_id)).state is TaskState.CANCELLED
    placement = Placement(
        task_id, first.stored.seq, AttemptId("a"), LEASE, after(NOW, 9), W1.id, W1.incarnation
    )
    placed, _ = await store.dispatch.place([placement], NOW)
    assert placed == []
    assert (await add(store)).number == 2
    assert await shown(store) == {2: ListStatus.QUEUED}
    with pytest.raises(NotFound):
        await store.lists.withdraw(LIST, 1, NOW, "me")


async def test_dispatched_unknown_and_foreign_tasks_are_not_withdrawn(store: Any) -> None:
    """They stay as they are, running and ended ones alike, whatever the number."""
    running, ended = await add(store), await add(store)
    await place(store, running)
    await end(store, await place(store, ended), AttemptState.SUCCEEDED)
    await add(store, SAME_NAME)
    for number in (0, 1, 2, 3, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        with pytest.raises(NotFound):
            await store.lists.withdraw(LIST, number, NOW, "me")
    with pytest.raises(NotFound):
        await store.lists.withdraw(SAME_NAME, 2, NOW, "me")
    assert await shown(store) == {1: ListStatus.RUNNING, 2: ListStatus.COMPLETED}
    assert await shown(store, SAME_NAME) == {1: ListStatus.QUEUED}


async def test_a_task_that_waits_again_was_dispatched(store: Any) -> None:
    """Its worker was lost: it goes on as running, cannot be withdrawn, and is flushed."""
    added = await add(store)
    await place(store, added)
    await store.dispatch.lose(W1.id, W1.incarnation, after(NOW, 1))
    assert (await store.tasks.task(WS, added.task.id)).state is TaskState.QUEUED
    with pytest.raises(NotFound):
        await store.lists.withdraw(LIST, 1, NOW, "me")
    assert await shown(store) == {1: ListStatus.RUNNING}
    assert await store.lists.flush(LIST) == ([1], [added.task.id])


async def test_flush_takes_what_was_dispatched(store: Any) -> None:
    """It says which numbers, and what of it runs; the tasks themselves stay."""
    tasks = [await add(store) for _ in range(4)]
    await place(store, tasks[0])
    await end(store, await place(store, tasks[1]), AttemptState.SUCCEEDED)
    other = await add(store, SAME_NAME)
    await place(store, other)
    assert await store.lists.flush(LIST) == ([1, 2], [tasks[0].task.id])
    assert await store.lists.flush(LIST) == ([], [])
    assert await shown(store) == {3: ListStatus.QUEUED, 4: ListStatus.QUEUED}
    assert await shown(store, SAME_NAME) == {1: ListStatus.RUNNING}
    assert (await store.tasks.task(WS, tasks[0].task.id)).state is TaskState.RUNNING
    for number in (1, 2):
        with pytest.raises(NotFound):
            await store.lists.task(LIST, number)
    assert (await add(store)).number == 5


async def test_forgetting_ignores_the_unknown(store: Any) -> None:
    """What is named goes, nothing else does."""
    for _ in range(3):
        await add(store)
    await store.lists.forget(LIST, [2, 2, 7])
    await store.lists.forget(LIST, [])
    assert list(await shown(store)) == [1, 3]


async def test_a_deleted_task_leaves_its_list(store: Any) -> None:
    """A record that is gone is listed nowhere, and its number is not used again."""
    first = await add(store)
    await add(store)
    await store.tasks.cancel(WS, [first.task.id], NOW, "me")
    await store.tasks.delete(WS, [first.task.id], NOW)
    assert await shown(store) == {2: ListStatus.QUEUED}
    with pytest.raises(NotFound):
        await store.lists.task(LIST, 1)
    assert (await add(store)).number == 3


async def test_an_unknown_list_is_empty(store: Any) -> None:
    """Looking at it does not make it."""
    key = ListKey(WS, GroupName("unknown"))
    assert await shown(store, key) == {}
    assert await store.lists.flush(key) == ([], [])
    assert await store.lists.open(key, "me", most=10, concurrency_limit=None)


async def test_lists_outlive_the_store(
    store: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Another store on the same data shows the same, and counts on."""
    for _ in range(3):
        await add(store)
    await store.lists.withdraw(LIST, 3, NOW, "me")
    before = await store.lists.entries(LIST)
    await store.close()
    again: Any = await opened_as(request.node.callspec.params["store"], tmp_path)
    try:
        assert await again.lists.entries(LIST) == before
        assert (await add(again)).number == 4
        assert not await again.lists.open(LIST, "me", most=1, concurrency_limit=6)
    finally:
        await again.close()
