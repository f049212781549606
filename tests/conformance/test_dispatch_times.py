"""What every dispatch store promises about time: order, moments, firings, retention."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.attempts import Ended, Started
from taskyard.core.cron import CatchUp
from taskyard.core.ids import (
    AttemptId,
    GroupName,
    LeaseToken,
    WorkspaceName,
)
from taskyard.core.instants import Instant, after
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.dispatching import PlacedAttempt
from taskyard.ports.store import TaskQuery

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await store.close()


async def run(store: Any, new: NewTask, name: str = "a") -> PlacedAttempt:
    """Submit a task and place it."""
    (stored,) = await store.tasks.submit([new], None)
    (placed,), _ = await store.dispatch.place([placement(new.id, stored.seq, name)], NOW)
    return placed  # type: ignore[no-any-return]


async def test_ready_tasks_come_in_their_order(store: Any) -> None:
    """By priority, then by acceptance; continued behind a position."""
    news = [new_task(group="g", priority=priority) for priority in (0, 5, -5, 0, 5)]
    await store.tasks.submit([*news, new_task(group="h")], None)
    ready = await store.dispatch.ready(WS, GroupName("g"), None, 10)
    assert [one.id for one in ready] == [news[n].id for n in (1, 4, 0, 3, 2)]
    position = (ready[1].priority, ready[1].seq)
    assert await store.dispatch.ready(WS, GroupName("g"), position, 2) == ready[2:4]
    assert {(b.group, b.queued) for b in await store.dispatch.backlogs()} == {("g", 5), ("h", 1)}


async def test_time_moves_what_waits(store: Any) -> None:
    """Starts and expiries at their moments; ``next_due`` tells the nearest."""
    start = new_task(start_at=after(NOW, 10))
    expiring = new_task(expires_at=after(NOW, 5))
    late = new_task(start_at=after(NOW, 3), expires_at=after(NOW, 4))
    await store.tasks.submit([start, expiring, late], None)
    assert await store.dispatch.next_due() == after(NOW, 3)
    assert await store.dispatch.due(after(NOW, 2), 10) == []
    changes = await store.dispatch.due(after(NOW, 5), 10)
    assert {(c.task_id, c.kind) for c in changes} == {
        (expiring.id, "expired"),
        (late.id, "expired"),
    }
    assert await store.dispatch.next_due() == after(NOW, 10)
    (change,) = await store.dispatch.due(after(NOW, 10), 10)
    assert (change.kind, change.ready.id) == ("due", start.id)
    assert await store.dispatch.next_due() is None


async def test_a_moment_that_has_come_is_done(store: Any) -> None:
    """What ``next_due`` announces, ``due`` does at that very instant."""
    for new in (
        new_task(start_at=after(NOW, 1)),
        new_task(expires_at=after(NOW, 2)),
        new_task(cron="* * * * *", start_at=after(NOW, 3)),
    ):
        await store.tasks.submit([new], None)
    for _ in range(3):
        moment = await store.dispatch.next_due()
        assert await store.dispatch.due(moment, 10) != []


async def test_a_firing_is_a_task_of_its_own(store: Any) -> None:
    """It names its schedule and moment, and takes over all but the rule and the key."""
    due_at = after(NOW, 40)  # a full minute
    new = new_task(
        cron="* * * * *",
        start_at=due_at,
        idempotency_key="k",
        labels={"a": "b"},
        priority=4,
        group="g",
    )
    await store.tasks.submit([new], None)
    (change,) = await store.dispatch.due(due_at, 10)
    assert change.kind == "fired"
    task = await store.tasks.task(WS, change.task_id)
    assert (task.schedule_id, task.due_at, task.state) == (new.id, due_at, TaskState.QUEUED)
    assert (task.spec.cron, task.spec.idempotency_key) == (None, None)
    assert (task.spec.labels, task.spec.priority, task.spec.group) == ({"a": "b"}, 4, "g")
    assert (await store.tasks.task(WS, new.id)).start_at == after(due_at, 60)
    query = TaskQuery(workspace=WS, labels={"a": "b"}, schedule_id=new.id)
    assert [one.id for one in (await store.tasks.list_tasks(query)).tasks] == [task.id]


async def test_firings_have_the_priority_their_schedule_has_now(store: Any) -> None:
    """Not the one it was submitted with."""
    new = new_task(cron="* * * * *", start_at=after(NOW, 40), priority=4)
    await store.tasks.submit([new], None)
    await store.tasks.set_priority(WS, new.id, -3, NOW, "me")
    (change,) = await store.dispatch.due(after(NOW, 40), 10)
    assert change.ready.priority == -3
    assert (await store.tasks.task(WS, change.task_id)).spec.priority == -3


async def test_histories_of_one_batch_are_numbered_without_gaps(store: Any) -> None:
    """Several lines of one task in one transaction keep their order."""
    placed = await run(store, new_task())
    reports = [
        Started(AttemptId("a"), TOKEN, NOW),
        Ended(AttemptId("a"), LeaseToken("forged"), NOW, AttemptState.FAILED),
        Started(AttemptId("a"), LeaseToken("forged"), NOW),
        Ended(AttemptId("a"), TOKEN, NOW, AttemptState.SUCCEEDED),
    ]
    await store.dispatch.apply(reports, NOW, [0.5] * 4)
    events = await store.tasks.events(WS, placed.task.id, 0, 100)
    kinds = ["submitted", "assigned", "started", "refused", "refused", "succeeded"]
    assert [(event.number, event.kind) for event in events] == list(enumerate(kinds, 1))


async def test_a_firing_time_is_used_once(store: Any) -> None:
    """Even if clock and schedule are turned back to before it."""
    due_at = after(NOW, 40)
    new = new_task(cron="* * * * *", start_at=due_at)
    await store.tasks.submit([new], None)
    assert len(await store.dispatch.due(due_at, 10)) == 1
    await store.tasks.reschedule(WS, new.id, due_at, NOW, "me")
    other = new_task()
    await store.tasks.submit([other], None)
    assert await store.dispatch.due(due_at, 10) == []
    assert (await store.tasks.task(WS, new.id)).start_at == after(due_at, 60)
    assert (await store.tasks.task(WS, other.id)).state is TaskState.QUEUED


async def test_a_long_absence_is_made_up_for_in_parts(store: Any) -> None:
    """Every missed minute of five hours, each once, no round without an end."""
    due_at = after(NOW, 40)
    new = new_task(cron="* * * * *", start_at=due_at, catch_up=CatchUp.ALL)
    await store.tasks.submit([new], None)
    now = after(due_at, 5 * 3600)
    moments: list[Instant] = []
    rounds = 0
    while changes := await store.dispatch.due(now, 50):
        rounds += 1
        tasks = [await store.tasks.task(WS, change.task_id) for change in changes]
        moments += [task.due_at for task in tasks]
    assert moments == [after(due_at, 60 * minute) for minute in range(301)]
    assert rounds > 2


async def test_retention_takes_the_oldest_of_each_workspace(store: Any) -> None:
    """By age, by count, and never more than asked for at once."""
    ids = []
    for number in range(6):
        new = new_task(workspace="a" if number % 2 else "b")
        await store.tasks.submit([new], None)
        await store.tasks.cancel(new.workspace, [new.id], after(NOW, number), "me")
        ids.append((new.workspace, new.id))
    waiting = new_task()
    await store.tasks.submit([waiting], None)
    late = after(NOW, 100)
    assert (await store.dispatch.prune(late, None, None, 10))[0] == 0
    assert (await store.dispatch.prune(late, after(NOW, 2), None, 1))[0] == 1
    assert (await store.dispatch.prune(late, after(NOW, 2), None, 10))[0] == 1
    assert (await store.dispatch.prune(late, after(NOW, 2), None, 10))[0] == 0
    assert (await store.dispatch.prune(late, None, 1, 10))[0] == 2
    left = []
    for workspace in ("a", "b"):
        page = await store.tasks.list_tasks(TaskQuery(workspace=WorkspaceName(workspace)))
        left += [(workspace, task.id) for task in page.tasks]
    assert set(left) == set(ids[4:])
    assert (await store.tasks.task(WS, waiting.id)).state is TaskState.QUEUED
    assert sum((await store.dispatch.counts()).values()) == 3


async def test_pruned_attempts_are_named(store: Any) -> None:
    """So that their logs can be deleted too."""
    await run(store, new_task())
    await end(store)
    assert await store.dispatch.prune(after(NOW, 9), after(NOW, 9), None, 10) == (1, ["a"])
    assert await store.dispatch.running() == []
