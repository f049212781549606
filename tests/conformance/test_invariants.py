"""The check of what holds in every store finds every kind of damage, and nothing in a sound one."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement
from invariants import check_invariants

from fakes.specs import NOW, WS, new_task
from fakes.stores import STORES, opened, opened_as
from taskyard.core.attempts import Started
from taskyard.core.backoff import RetryPolicy
from taskyard.core.ids import AttemptId, LeaseToken, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.store.sqlite.database import FILE_NAME

pytestmark = pytest.mark.anyio


async def filled(store: Any) -> None:
    """A task in every state, some with more than one attempt, in two workspaces."""
    twice = RetryPolicy(2, 1.0, 1.0, 1.0, 0.0)
    await store.dispatch.join(W1)
    news = {
        "queued": new_task(priority=3),
        "scheduled": new_task(start_at=after(NOW, 10**6)),
        "recurring": new_task(cron="* * * * *", start_at=after(NOW, 40)),
        "cancelled": new_task(start_at=after(NOW, 10**6)),
        "expired": new_task(start_at=after(NOW, 10), expires_at=after(NOW, 5)),
        "elsewhere": new_task(workspace="other", group="g"),
    }
    await store.tasks.submit(list(news.values()), "me")
    await store.tasks.cancel(WS, [news["cancelled"].id], NOW, "me")
    for name in ("running", "succeeded", "failed", "dead", "retrying", "killed"):
        retry = twice if name in {"dead", "retrying"} else RetryPolicy()
        new = new_task(retry=retry)
        await store.tasks.submit_placed(new, "me", placement(new.id, 0, name))
        news[name] = new
    started = [Started(AttemptId(name), TOKEN, NOW) for name in ("running", "succeeded")]
    await store.dispatch.apply(started, NOW, [0.5, 0.5])
    await store.tasks.cancel(WS, [news["killed"].id], NOW, "me")
    await end(store, AttemptState.SUCCEEDED, "succeeded")
    await end(store, AttemptState.KILLED, "killed")
    for name in ("failed", "dead", "retrying"):
        await end(store, AttemptState.FAILED, name, reason=Reason.EXIT_CODE)
    await end(store, AttemptState.SUCCEEDED, "dead", token=LeaseToken("forged"))
    await store.dispatch.due(after(NOW, 40), 100)
    for task in await check_invariants(store):
        if task.id in {news["dead"].id, news["retrying"].id}:
            name = f"again {task.seq}"
            await store.dispatch.place([placement(task.id, task.seq, name)], after(NOW, 41))
            await end(store, AttemptState.FAILED, name, reason=Reason.EXIT_CODE)
    last = new_task(retry=twice)
    await store.tasks.submit_placed(last, None, placement(last.id, 0, "last"))
    await end(store, AttemptState.FAILED, "last", reason=Reason.EXIT_CODE)


@pytest.mark.parametrize("kind", STORES)
async def test_a_sound_store_is_found_sound(kind: str, tmp_path: Path) -> None:
    """With tasks in every state; all of them are looked at."""
    store = await opened_as(kind, tmp_path)
    try:
        await filled(store)
        tasks = await check_invariants(store)
        assert {task.state for task in tasks} == set(TaskState)
        assert {task.workspace for task in tasks} == {WS, WorkspaceName("other")}
        assert [task.seq for task in tasks] == sorted(task.seq for task in tasks)
    finally:
        await store.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    """A store on disk that rows can be changed of, with a task in every state."""
    store = await opened(tmp_path)
    await filled(store)
    yield store
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tasks SET state = 'failed', finished_at = 1 WHERE state = 'queued'",
        "UPDATE tasks SET state = 'queued', queued_at = 1, finished_at = NULL"
        " WHERE state = 'cancelled'",
        "UPDATE tasks SET state = 'succeeded' WHERE state = 'dead'",
        "UPDATE tasks SET attempt_count = attempt_count + 1 WHERE state = 'failed'",
        "UPDATE tasks SET current_attempt = 'dead' WHERE state = 'dead'",
        "UPDATE tasks SET current_attempt = 'failed' WHERE state = 'running'",
        "UPDATE tasks SET start_at = NULL WHERE state = 'retrying'",
        "UPDATE tasks SET finished_at = NULL WHERE state = 'expired'",
        "UPDATE tasks SET kill_requested_at = 1 WHERE state = 'queued'",
        "UPDATE tasks SET priority = 9, workspace = 'other' WHERE state = 'queued'",
        "DELETE FROM tasks WHERE state = 'running'",
        "DELETE FROM tasks WHERE state = 'queued'",
        "UPDATE attempts SET finished_at = NULL, state = 'running' WHERE id = 'succeeded'",
        "UPDATE attempts SET finished_at = 1, state = 'failed' WHERE id = 'running'",
        "UPDATE attempts SET state = 'failed' WHERE id = 'succeeded'",
        "UPDATE attempts SET number = 7 WHERE id = 'failed'",
        "UPDATE attempts SET started_at = 1 WHERE id = 'failed'",
        "DELETE FROM attempts WHERE id = 'failed'",
        "DELETE FROM attempts WHERE id = 'running'",
        "UPDATE task_counts SET total = total + 1 WHERE state = 'running'",
        "DELETE FROM task_counts WHERE state = 'dead'",
        "UPDATE task_counts SET group_name = 'h' WHERE state = 'expired'",
        "DELETE FROM events WHERE kind = 'submitted'",
        "DELETE FROM events WHERE kind = 'assigned' AND attempt_id = 'failed'",
        "DELETE FROM events WHERE kind = 'cancelled' AND attempt_id IS NULL",
        "UPDATE events SET number = number + 1 WHERE kind = 'dead'",
        "UPDATE events SET kind = 'succeeded' WHERE kind = 'failed'",
        "UPDATE events SET attempt_id = 'other' WHERE kind = 'succeeded'",
    ],
)
async def test_damage_is_found(store: Any, tmp_path: Path, damage: str) -> None:
    """Whichever part of the store disagrees with the others."""
    await check_invariants(store)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(damage).rowcount >= 1
    with pytest.raises(AssertionError):
        await check_invariants(store)
