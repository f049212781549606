"""What every store promises of tasks that are stored with their attempt."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1, end, placement

from fakes.specs import WS, new_task
from fakes.stores import STORES, opened_as
from taskyard.core.ids import IncarnationId, WorkerId
from taskyard.core.states import TaskState

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await store.close()


async def test_a_task_can_be_stored_with_its_attempt(store: Any) -> None:
    """As if it had been placed a moment later: queued, assigned, running, and counted so."""
    new = new_task(labels={"team": "x"})
    stored = await store.tasks.submit_placed(new, "me", placement(new.id, 0))
    assert (stored.created, stored.state) == (True, TaskState.QUEUED)
    task = await store.tasks.task(WS, new.id)
    assert (task.state, task.attempt_count) == (TaskState.RUNNING, 1)
    (attempt,) = await store.tasks.attempts(WS, new.id)
    assert attempt == stored.attempt
    assert (attempt.id, attempt.state, task.current_attempt) == ("a", "assigned", attempt.id)
    events = await store.tasks.events(WS, new.id, 0, 10)
    told = [(one.number, one.kind, one.actor, one.attempt_id) for one in events]
    assert told == [(1, "submitted", "me", None), (2, "assigned", None, "a")]
    assert await store.tasks.counts(WS) == {TaskState.RUNNING: 1}
    assert [one.attempt.id for one in await store.dispatch.running()] == ["a"]
    kinds, refused = await end(store)
    assert (kinds, refused) == (["succeeded"], [])
    events = await store.tasks.events(WS, new.id, 2, 10)
    assert [(one.number, one.kind) for one in events] == [(3, "succeeded")]


@pytest.mark.parametrize(
    "stale",
    [
        {"incarnation": IncarnationId("life-0")},
        {"worker_id": WorkerId("w2")},
    ],
    ids=["an earlier incarnation", "an unknown worker"],
)
async def test_a_task_is_stored_without_an_attempt_if_its_worker_is_gone(
    store: Any, stale: dict[str, Any]
) -> None:
    """It waits like any other."""
    new = new_task()
    stored = await store.tasks.submit_placed(new, None, placement(new.id, 0, **stale))
    assert (stored.created, stored.attempt) == (True, None)
    task = await store.tasks.task(WS, new.id)
    assert (task.state, task.attempt_count, task.current_attempt) == (TaskState.QUEUED, 0, None)
    assert await store.tasks.attempts(WS, new.id) == []
    assert len(await store.dispatch.ready(WS, task.spec.group, None, 10)) == 1


async def test_a_known_key_makes_no_attempt(store: Any) -> None:
    """The earlier task is the answer."""
    new, again = new_task(idempotency_key="k"), new_task(idempotency_key="k")
    first = await store.tasks.submit_placed(new, None, placement(new.id, 0))
    second = await store.tasks.submit_placed(again, None, placement(again.id, 0, "b"))
    assert first.attempt is not None
    assert (second.created, second.task_id, second.attempt) == (False, new.id, None)
    assert len(await store.dispatch.running()) == 1
