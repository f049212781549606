"""The check of what holds in every store finds every kind of damage, and nothing in a sound one."""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement
from invariants import check_invariants

from fakes.specs import NOW, WS, new_task
from fakes.stores import COMPLETE_STORES, STORES, opened_as
from taskyard.core.attempts import Started
from taskyard.core.backoff import RetryPolicy
from taskyard.core.ids import AttemptId, LeaseToken, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.store.sql.check import RULES, check_rows
from taskyard.store.sql.queries import queries
from taskyard.store.sqlite.database import FILE_NAME
from taskyard.store.sqlite.store import SqliteStore

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


@pytest.fixture(params=COMPLETE_STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A store on disk that rows can be changed of, with a task in every state."""
    store = await opened_as(request.param, tmp_path)
    await filled(store)
    yield store
    await store.close()


def damaged(store: Any, directory: Path, damage: str) -> None:
    """Run statements in a store's database, which no constraint of rows forbids."""
    if isinstance(store, SqliteStore):
        with closing(sqlite3.connect(directory / FILE_NAME)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.executescript(damage)
        return
    with store.database.raw() as connection:
        for query in ("shards.fold_counts", "shards.fold_output"):
            connection.execute(queries("taskyard.store.postgres")[query].encode())
        for table, name in connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c'"
            " AND connamespace = 'taskyard'::regnamespace"
        ).fetchall():
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        connection.execute(re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", damage).encode())


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
    damaged(store, tmp_path, damage)
    findings = await store.session.read(lambda c: list(check_rows(c)))
    assert findings
    assert all(finding.count and finding.entries for finding in findings)


FOUND = {
    "state_against_history": "UPDATE tasks SET state = 'queued', queued_at = 1, finished_at = NULL"
    " WHERE state = 'cancelled'",
    "history_after_end": "INSERT INTO events (task_seq, number, at, kind)"
    " SELECT seq, 9, 1, 'due' FROM tasks WHERE state = 'cancelled'",
    "history_numbers": "DELETE FROM events WHERE kind = 'submitted'",
    "task_columns": "UPDATE tasks SET kill_requested_at = 1 WHERE state = 'queued'",
    "attempt_numbers": "UPDATE tasks SET attempt_count = 7 WHERE state = 'failed'",
    "attempt_owner": "UPDATE attempts SET workspace = 'other' WHERE id = 'failed'",
    "attempt_end": "UPDATE attempts SET finished_at = NULL WHERE id = 'failed'",
    "current_attempt": "UPDATE tasks SET current_attempt = 'failed' WHERE state = 'running'",
    "attempt_worker": "DELETE FROM workers",
    "success": "UPDATE attempts SET state = 'failed' WHERE id = 'succeeded'",
    "assigned_events": "UPDATE events SET attempt_id = 'dead' WHERE attempt_id = 'failed'",
    "started_events": "UPDATE attempts SET started_at = 1 WHERE id = 'failed'",
    "ended_events": "DELETE FROM events WHERE kind = 'failed'",
    "event_attempts": "UPDATE events SET attempt_id = 'other' WHERE kind = 'succeeded'",
    "task_counts": "DELETE FROM task_counts WHERE state = 'dead'",
    "output_totals": "INSERT INTO output_totals VALUES ('default', 7)",
    "job_counts": "INSERT INTO job_groups VALUES (1, 'w', 'g', 1, 1, 2)",
    "list_numbers": "INSERT INTO list_entries VALUES ('default', 'g', 9, 1);"
    "INSERT INTO lists VALUES ('default', 'g', 'me', 3, NULL)",
    "execution_numbers": "INSERT INTO jobs (seq, workspace, group_name, id, created_at,"
    " modified_at, ticket, definition) VALUES (1, 'w', 'g', 'j', 1, 1, '', '');"
    "INSERT INTO job_executions VALUES (1, 4, 1, NULL, 0)",
    "version_numbers": "INSERT INTO functions VALUES ('f', 'w', 'n', 'python', 1, 1, '', '', '[]',"
    " '{}', 3, 1, 0, NULL);"
    "INSERT INTO function_versions (function_id, number, state, bundle, size_bytes, language,"
    " handler, entry, dependencies, created_at, created_by)"
    " VALUES ('f', 2, 'ready', '', 1, 'python', '', '', '[]', 1, 'me')",
    "live_versions": "INSERT INTO functions VALUES ('f', 'w', 'n', 'python', 1, 1, '', '', '[]',"
    " '{}', 3, 3, 0, NULL)",
    "orphans": "INSERT INTO task_labels VALUES ('default', 'k', 'v', 999)",
    "tries": "INSERT INTO webhook_deliveries (number, id, workspace, task_id, event, url, host,"
    " headers, body, state, created_at)"
    " SELECT 1, 'd', workspace, id, '', '', '', '', x'', 'failed', 1 FROM tasks LIMIT 1;"
    "INSERT INTO webhook_tries (delivery, number, at, duration_ms) VALUES (1, 2, 1, 1)",
    "parked": "INSERT INTO parked VALUES ('task', 'nothing', 'default', '', 1, 1, NULL)",
}
"""What breaks each rule."""
ORPHANS = [
    "INSERT INTO events (task_seq, number, at, kind) VALUES (999, 1, 1, 'submitted')",
    "INSERT INTO folded_output VALUES ('nothing', 'stdout', x'00')",
    "INSERT INTO call_results VALUES ('nothing', 200, '{}', 1, x'00')",
    "INSERT INTO list_entries VALUES ('default', 'nothing', 1, 1)",
    "INSERT INTO lists VALUES ('w', 'l', 'me', 3, NULL);"
    "INSERT INTO list_entries VALUES ('w', 'l', 1, 999)",
    "INSERT INTO jobs (workspace, group_name, id, created_at, modified_at, ticket, definition)"
    " VALUES ('w', 'nothing', 'j', 1, 1, '', '')",
    "INSERT INTO job_group_words VALUES ('w', 'word', 9)",
    "INSERT INTO job_executions VALUES (9, 1, 1, NULL, 0)",
    "INSERT INTO function_blobs VALUES ('nothing', 1, x'00')",
    "INSERT INTO catalogue (kind, id, workspace, function_id, content)"
    " VALUES ('endpoint', 'e', 'w', 'nothing', '{}')",
    "INSERT INTO issued_calls VALUES (999, 'c', 'w', 'f', 1, NULL, NULL, NULL, 0, 1, '{}')",
    "INSERT INTO webhook_tries (delivery, number, at, duration_ms) VALUES (1, 2, 1, 1)",
    "INSERT INTO webhook_deliveries (id, workspace, task_id, event, url, host, headers, body,"
    " state, created_at) VALUES ('d', 'w', 'nothing', '', '', '', '', x'', 'failed', 1)",
]
PARKED = [
    "INSERT INTO parked SELECT 'task', id, workspace, '', 1, 1, NULL FROM tasks"
    " WHERE state = 'succeeded'",
    "INSERT INTO parked VALUES ('job', '9', 'w', '', 1, 1, NULL)",
    "INSERT INTO parked VALUES ('schedule', 's', 'w', '', 1, 1, NULL)",
    "INSERT INTO parked VALUES ('delivery', 'd', 'w', '', 1, 1, NULL)",
]


@pytest.mark.parametrize(
    ("rule", "damage"),
    [
        *FOUND.items(),
        *(("orphans", damage) for damage in ORPHANS),
        *(("parked", damage) for damage in PARKED),
    ],
)
async def test_each_rule_finds_what_breaks_it(
    store: Any, tmp_path: Path, rule: str, damage: str
) -> None:
    """And says what it is about, and what to do."""
    damaged(store, tmp_path, damage)
    findings = await store.session.read(lambda c: list(check_rows(c)))
    (found,) = [finding for finding in findings if finding.rule == rule]
    assert found.severity == "error"
    assert found.entries
    assert found.what_to_do


def test_every_rule_is_tried_out() -> None:
    """None is left out above."""
    assert [rule.name for rule in RULES] == list(FOUND)
