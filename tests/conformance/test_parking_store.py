"""What every store promises of entries that are put aside so that the others can go on."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1
from invariants import check_invariants
from racing import Clients, answers

from fakes.specs import NOW, WS, new_task
from fakes.stores import COMPLETE_STORES, opened_as
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask

pytestmark = pytest.mark.anyio
OTHER = WorkspaceName("other")
SOON = after(NOW, 60)


@pytest.fixture(params=COMPLETE_STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await store.close()


async def waiting(store: Any) -> NewTask:
    """A task whose time comes in a minute."""
    new = new_task(start_at=SOON)
    await store.tasks.submit([new], None)
    return new


async def test_what_is_put_aside_is_shown_in_its_workspace(store: Any) -> None:
    """Longest first, as many as asked for, with why, since when and until when."""
    for number, (kind, key) in enumerate((("attempt", "7"), ("trigger", "t"), ("attempt", "a"))):
        await store.parking.park(kind, key, WS, f"odd {key}", after(NOW, number))
    await store.parking.park("trigger", "s", OTHER, "theirs", NOW)
    shown = await store.parking.parked(WS, 10)
    assert [(one.kind, one.key, one.reason) for one in shown] == [
        ("attempt", "7", "odd 7"),
        ("trigger", "t", "odd t"),
        ("attempt", "a", "odd a"),
    ]
    assert all(one.workspace == WS and one.retry_at > one.since for one in shown)
    assert [one.since for one in shown] == [after(NOW, number) for number in range(3)]
    assert await store.parking.parked(WS, 2) == shown[:2]
    assert [one.key for one in await store.parking.parked(OTHER, 10)] == ["s"]


async def test_failing_again_keeps_since_when(store: Any) -> None:
    """The reason is the latest one, and the next look is later."""
    await store.parking.park("trigger", "t", WS, "first", NOW)
    (before,) = await store.parking.parked(WS, 10)
    await store.parking.park("trigger", "t", WS, "second", after(NOW, 100))
    (again,) = await store.parking.parked(WS, 10)
    assert (again.since, again.reason) == (before.since, "second")
    assert again.retry_at == after(before.retry_at, 100)


async def test_one_key_of_two_kinds_is_two_entries(store: Any) -> None:
    """A trigger and an attempt may have the same id."""
    await store.parking.park("trigger", "1", WS, "a trigger", NOW)
    await store.parking.park("attempt", "1", WS, "an attempt", NOW)
    shown = await store.parking.parked(WS, 10)
    assert {(one.kind, one.reason) for one in shown} == {
        ("trigger", "a trigger"),
        ("attempt", "an attempt"),
    }


async def test_a_task_put_aside_waits_and_is_tried_again(store: Any) -> None:
    """Not due before the moment that is shown; others are, meanwhile."""
    odd, fine = await waiting(store), await waiting(store)
    await store.parking.park("task", odd.id, WS, "odd", SOON)
    (shown,) = await store.parking.parked(WS, 10)
    early = Instant(shown.retry_at - 1)
    assert [one.task_id for one in await store.dispatch.due(early, 10)] == [fine.id]
    assert await store.dispatch.next_due() == shown.retry_at
    assert [one.task_id for one in await store.dispatch.due(shown.retry_at, 10)] == [odd.id]
    assert (await store.tasks.task(WS, odd.id)).state is TaskState.QUEUED
    await check_invariants(store)


async def test_what_was_dealt_with_is_not_put_aside_any_more(store: Any) -> None:
    """Cancelled or given another start by its owner: the reason is gone with it."""
    gone, moved = await waiting(store), await waiting(store)
    for one in (gone, moved):
        await store.parking.park("task", one.id, WS, "odd", NOW)
    await store.tasks.cancel(WS, [gone.id], NOW, "me")
    assert [one.key for one in await store.parking.parked(WS, 10)] == [moved.id]
    await store.tasks.reschedule(WS, moved.id, SOON, NOW, "me")
    assert await store.parking.parked(WS, 10) == []
    assert [one.task_id for one in await store.dispatch.due(SOON, 10)] == [moved.id]
    await check_invariants(store)


@pytest.mark.parametrize("kind", ["task", "job", "schedule", "delivery"])
async def test_what_waits_for_nothing_is_not_put_aside(store: Any, kind: str) -> None:
    """Whoever failed had read it before it went: nobody would ever take it out again."""
    gone = await waiting(store)
    await store.tasks.cancel(WS, [gone.id], NOW, "me")
    for key in (gone.id, "77"):
        await store.parking.park(kind, key, WS, "odd", NOW)
    assert await store.parking.parked(WS, 10) == []


async def test_two_clients_put_the_same_aside(complete_clients: Clients) -> None:
    """It is shown once, with one of the reasons."""
    clients = complete_clients
    for number, one, other in clients.in_turns():
        key = f"t{number}"
        answers(
            await clients.race(
                partial(one.parking.park, "trigger", key, WS, "mine", NOW),
                partial(other.parking.park, "trigger", key, WS, "yours", NOW),
            )
        )
        found = [entry for entry in await other.parking.parked(WS, 100) if entry.key == key]
        assert [entry.reason in {"mine", "yours"} for entry in found] == [True]


async def test_putting_aside_against_a_cancel(complete_clients: Clients) -> None:
    """A cancelled task never comes up, whichever was first."""
    clients = complete_clients
    for _, one, other in clients.in_turns():
        new = await waiting(one)
        answers(
            await clients.race(
                partial(one.parking.park, "task", new.id, WS, "odd", NOW),
                partial(other.tasks.cancel, WS, [new.id], NOW, "me"),
            )
        )
        assert (await one.tasks.task(WS, new.id)).state is TaskState.CANCELLED
        assert await other.dispatch.due(after(NOW, 10**6), 10) == []
        parked = await one.parking.parked(WS, 10)
        assert new.id not in {entry.key for entry in parked}
    await check_invariants(clients.first)
