"""What every task store promises of changes to tasks, and of what they may not change."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1, end, placement
from invariants import check_invariants

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.backoff import RetryPolicy
from taskyard.core.errors import IllegalTransition, InvalidInput, NotFound
from taskyard.core.ids import AttemptId, GroupName, TaskId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.store import TaskQuery

pytestmark = pytest.mark.anyio
OTHER = WorkspaceName("other")
LATER = after(NOW, 60)
NOBODY = TaskId("01988a00-0000-7000-8000-00000000ffff")


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker; sound in the end."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await check_invariants(store)
    await store.close()


async def running(store: Any, name: str = "a", **members: Any) -> NewTask:
    """A task with an attempt."""
    new = new_task(**members)
    stored = await store.tasks.submit_placed(new, None, placement(new.id, 0, name))
    assert stored.attempt is not None
    return new


async def ended(store: Any, name: str = "e") -> NewTask:
    """A task that succeeded."""
    new = await running(store, name)
    await end(store, name=name)
    return new


@pytest.mark.parametrize("bad", [{"name": "\ud800"}, {"priority": 2**63}])
async def test_a_batch_is_stored_as_a_whole(store: Any, bad: dict[str, Any]) -> None:
    """One that cannot be stored keeps the others out, and none of their keys is taken."""
    news = [new_task(idempotency_key="k"), new_task(**bad)]
    with pytest.raises(InvalidInput):
        await store.tasks.submit(news, None)
    assert await store.tasks.counts(WS) == {}
    (stored,) = await store.tasks.submit(news[:1], None)
    assert stored.created


async def test_a_cancel_answers_for_each_id(store: Any) -> None:
    """In the order asked, whatever each of them is; only what changed is told."""
    waiting, late = new_task(), new_task(start_at=LATER)
    theirs = new_task(workspace="other")
    await store.tasks.submit([waiting, late, theirs], None)
    runs, over = await running(store), await ended(store)
    ids = [over.id, waiting.id, NOBODY, runs.id, theirs.id, late.id]
    outcomes, changes = await store.tasks.cancel(WS, ids, NOW, "me")
    assert [(one.task_id, one.outcome) for one in outcomes] == [
        (over.id, "ended"),
        (waiting.id, "cancelled"),
        (NOBODY, "unknown"),
        (runs.id, "killing"),
        (theirs.id, "unknown"),
        (late.id, "cancelled"),
    ]
    assert [(change.task_id, change.kind) for change in changes] == [
        (waiting.id, "cancelled"),
        (runs.id, "kill_requested"),
        (late.id, "cancelled"),
    ]
    assert await store.tasks.cancel(WS, [], NOW, "me") == ([], [])


async def test_a_cancelled_task_says_who_and_why(store: Any) -> None:
    """In its record and in its history; it comes up no more."""
    new = new_task(start_at=LATER)
    await store.tasks.submit([new], None)
    await store.tasks.cancel(WS, [new.id], NOW, "token ci")
    task = await store.tasks.task(WS, new.id)
    assert (task.state, task.reason, task.finished_at) == (
        TaskState.CANCELLED,
        Reason.KILLED,
        NOW,
    )
    (event,) = await store.tasks.events(WS, new.id, 1, 10)
    assert (event.kind, event.actor, event.at) == ("cancelled", "token ci", NOW)
    assert await store.dispatch.due(LATER, 10) == []


async def test_priority_changes_the_order_of_what_waits(store: Any) -> None:
    """At once, and the scheduler is told what it needs to know."""
    first, second = new_task(), new_task()
    await store.tasks.submit([first, second], None)
    (change,) = await store.tasks.set_priority(WS, second.id, 9, NOW, "me")
    assert (change.kind, change.state, change.task_id) == (
        "reprioritized",
        TaskState.QUEUED,
        second.id,
    )
    ready = await store.dispatch.ready(WS, GroupName("default"), None, 10)
    assert [(one.id, one.priority) for one in ready] == [(second.id, 9), (first.id, 0)]
    assert (await store.tasks.task(WS, second.id)).spec.priority == 9


async def test_what_does_not_wait_is_not_changed(store: Any) -> None:
    """Running and ended tasks keep priority and start; unknown ones are unknown."""
    for new in (await running(store), await ended(store)):
        before = await store.tasks.task(WS, new.id)
        with pytest.raises(IllegalTransition):
            await store.tasks.set_priority(WS, new.id, 5, NOW, "me")
        with pytest.raises(IllegalTransition):
            await store.tasks.reschedule(WS, new.id, LATER, NOW, "me")
        assert await store.tasks.task(WS, new.id) == before
    with pytest.raises(NotFound):
        await store.tasks.set_priority(WS, NOBODY, 5, NOW, "me")
    with pytest.raises(NotFound):
        await store.tasks.reschedule(WS, NOBODY, LATER, NOW, "me")


async def test_a_queued_task_can_be_put_off(store: Any) -> None:
    """It leaves the queue, cannot be placed, and comes up at its new time."""
    new = new_task()
    (stored,) = await store.tasks.submit([new], None)
    (change,) = await store.tasks.reschedule(WS, new.id, LATER, NOW, "me")
    assert (change.kind, change.was, change.state) == (
        "rescheduled",
        TaskState.QUEUED,
        TaskState.SCHEDULED,
    )
    assert await store.dispatch.place([placement(new.id, stored.seq)], NOW) == ([], [])
    assert await store.dispatch.backlogs() == []
    (due,) = await store.dispatch.due(LATER, 10)
    assert (due.task_id, due.kind) == (new.id, "due")


async def test_a_retry_can_be_put_off(store: Any) -> None:
    """Its attempts still count when it comes up."""
    policy = RetryPolicy(2, 1.0, 1.0, 1.0, 0.0)
    new = await running(store, retry=policy)
    await end(store, AttemptState.FAILED, reason=Reason.EXIT_CODE)
    await store.tasks.reschedule(WS, new.id, LATER, NOW, "me")
    assert (await store.tasks.task(WS, new.id)).state is TaskState.SCHEDULED
    await store.dispatch.due(LATER, 10)
    seq = (await store.tasks.task(WS, new.id)).seq
    ((placed,), _) = await store.dispatch.place([placement(new.id, seq, "b")], LATER)
    assert placed.attempt.number == 2
    kinds, _ = await end(store, AttemptState.FAILED, "b", reason=Reason.EXIT_CODE)
    assert kinds == ["dead"]


async def test_histories_are_read_in_parts(store: Any) -> None:
    """Behind a number, as many as asked for; nothing behind the last."""
    new = await ended(store)
    events = await store.tasks.events(WS, new.id, 0, 100)
    assert [one.kind for one in events] == ["submitted", "assigned", "succeeded"]
    assert await store.tasks.events(WS, new.id, 0, 2) == events[:2]
    assert await store.tasks.events(WS, new.id, 2, 2) == events[2:]
    assert await store.tasks.events(WS, new.id, 3, 2) == []
    for call in (
        store.tasks.events(WS, NOBODY, 0, 10),
        store.tasks.attempts(WS, NOBODY),
        store.tasks.attempt(WS, AttemptId("unknown")),
        store.tasks.task(WS, NOBODY),
        store.tasks.delete(WS, [NOBODY], NOW),
    ):
        with pytest.raises(NotFound):
            await call


async def test_pages_oldest_first_meet_too(store: Any) -> None:
    """In the order of acceptance, to the end; moments bound them as told."""
    news = [new_task(now=after(NOW, number)) for number in range(7)]
    await store.tasks.submit(news, None)
    seen: list[TaskId] = []
    behind: int | None = None
    for _ in range(9):
        query = TaskQuery(workspace=WS, oldest_first=True, limit=3, after_seq=behind)
        page = await store.tasks.list_tasks(query)
        seen += [task.id for task in page.tasks]
        behind = page.next_seq
        if behind is None:
            break
    assert seen == [new.id for new in news]
    bounded = TaskQuery(
        workspace=WS, oldest_first=True, created_after=after(NOW, 2), created_before=after(NOW, 5)
    )
    page = await store.tasks.list_tasks(bounded)
    assert [task.id for task in page.tasks] == [new.id for new in news[2:5]]


async def test_what_has_expired_is_not_given_to_a_worker(store: Any) -> None:
    """From the very moment on; neither placed nor stored with an attempt."""
    new = new_task(expires_at=LATER)
    (stored,) = await store.tasks.submit([new], None)
    assert await store.dispatch.place([placement(new.id, stored.seq)], LATER) == ([], [])
    late = new_task(now=LATER, expires_at=LATER)
    told = await store.tasks.submit_placed(late, None, placement(late.id, 0, "late"))
    assert (told.created, told.attempt) == (True, None)
    changes = await store.dispatch.due(LATER, 10)
    assert {(change.task_id, change.kind) for change in changes} == {
        (new.id, "expired"),
        (late.id, "expired"),
    }


async def test_running_tells_what_the_scheduler_needs(store: Any) -> None:
    """Of all workspaces: the attempt, its task's group, and what that requires."""
    ours = await running(store, "a", group="g")
    theirs = await running(store, "b", workspace="other", group="h")
    found = {one.attempt.id: one for one in await store.dispatch.running()}
    assert (found["a"].group, found["b"].group) == ("g", "h")
    assert (found["a"].attempt.task_id, found["b"].attempt.task_id) == (ours.id, theirs.id)
    assert found["b"].attempt.workspace == OTHER
    assert await store.dispatch.counts() == {
        (WS, TaskState.RUNNING): 1,
        (OTHER, TaskState.RUNNING): 1,
    }
