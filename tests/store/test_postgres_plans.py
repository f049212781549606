"""What queries cost on PostgreSQL, by the planner's word: large tables are never walked through.

Each statement is planned twice: for the values at hand, as it is the first few times, and for any
values, as it may be from then on.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

import pytest

import postgres
from fakes.specs import NOW
from fakes.stores import migrated
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.states import TaskState
from taskyard.ports.store import TaskQuery
from taskyard.store.postgres.address import database_address
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.postgres.database import PostgresDatabase
from taskyard.store.postgres.placeholders import numbered
from taskyard.store.sql.queries import queries
from taskyard.store.sql.task_list import list_tasks

COUNT: Final = 20_000
WS: Final = WorkspaceName("default")
LARGE: Final = (
    "tasks|attempts|events|task_labels|issued_calls|catalogue|webhook_deliveries|webhook_tries"
    "|jobs|job_executions|list_entries|call_results|call_counters|audit|functions"
)
SCANS: Final = re.compile(rf"Seq Scan on ({LARGE})\b")
FILL: Final = [
    """
    INSERT INTO tasks (seq, id, workspace, group_name, name, state, priority, created_at, queued_at,
        start_at, current_attempt, finished_at, schedule_id, due_at, idempotency_key, spec)
    SELECT seq, 'task-' || seq, 'default', 'g' || seq % 10, 'name ' || seq, state, seq % 5, :now,
        CASE WHEN state = 'queued' THEN :now END,
        CASE WHEN state = 'scheduled' THEN :now + seq END,
        CASE WHEN state = 'running' THEN 'attempt-' || seq END,
        CASE WHEN state IN ('succeeded', 'failed', 'cancelled') THEN :now + seq END,
        'schedule-' || seq % 7, seq, CASE WHEN seq % 3 = 0 THEN 'key-' || seq END,
        '{"work": {"runtime": "command", "argv": ["true"]}}'
    FROM (SELECT seq, CASE WHEN seq % 20 < 12 THEN 'succeeded' WHEN seq % 20 = 12 THEN 'failed'
              WHEN seq % 20 = 13 THEN 'cancelled' WHEN seq % 20 = 14 THEN 'scheduled'
              WHEN seq % 200 = 15 THEN 'running' ELSE 'queued' END AS state
          FROM generate_series(1, :count) AS seq) AS states""",
    "INSERT INTO task_labels SELECT 'default', 'team', 'x' || seq % 4, seq FROM tasks",
    """
    INSERT INTO attempts (id, task_seq, task_id, workspace, number, worker_id, incarnation,
        lease_token, lease_expires_at, state, assigned_at, finished_at, resources)
    SELECT 'attempt-' || seq, seq, id, workspace, 1, 'w' || seq % 3, 'life', 'lease', 0,
        CASE state WHEN 'running' THEN 'running' ELSE 'succeeded' END, 0,
        CASE state WHEN 'running' THEN NULL ELSE 1 END, '{}'
    FROM tasks WHERE state != 'queued'""",
    "INSERT INTO events SELECT seq, number, 0, 'kind' FROM tasks, generate_series(1, 3) AS number",
    """
    INSERT INTO issued_calls SELECT seq, 'call-' || seq, workspace, 'f' || seq % 50, seq, NULL,
        NULL, NULL, 0, CASE WHEN seq % 100 = 0 THEN 0 ELSE 1 END, '{}' FROM tasks""",
    """
    INSERT INTO catalogue (kind, id, workspace, function_id, due_at, content)
    SELECT 'schedule', 'entry-' || n, 'default', 'f' || n % 50, n, '{}'
    FROM generate_series(1, 5000) AS n""",
    """
    INSERT INTO webhook_deliveries (id, workspace, task_id, event, url, host, headers, body, state,
        created_at, next_at, delivered_at)
    SELECT 'delivery-' || seq, 'w' || seq % 20, id, 'e', 'u', 'h' || seq % 300, '{}', '',
        CASE WHEN seq % 50 = 0 THEN 'pending' ELSE 'delivered' END, 0,
        CASE WHEN seq % 50 = 0 THEN :now + seq END, CASE WHEN seq % 50 = 0 THEN NULL ELSE 1 END
    FROM tasks""",
    "INSERT INTO webhook_tries SELECT number, 1, 0, 0 FROM webhook_deliveries",
    """
    INSERT INTO jobs (workspace, group_name, id, created_at, modified_at, next_at, recurring,
        ticket, definition)
    SELECT 'default', 'g' || n % 100, 'job-' || n, n, n,
        CASE WHEN n % 100 = 0 THEN :now + n END, CASE WHEN n % 100 = 0 THEN 1 ELSE 0 END, '',
        '{}'
    FROM generate_series(1, 10000) AS n""",
    """
    INSERT INTO job_executions SELECT seq % 10000 + 1, seq, seq, NULL,
        CASE WHEN seq % 100 = 0 THEN 0 ELSE 1 END FROM tasks""",
    "INSERT INTO list_entries SELECT 'default', 'g' || seq % 100, seq, seq FROM tasks",
    "INSERT INTO call_results SELECT id, 200, '[]', 0 FROM attempts",
    "INSERT INTO call_counters SELECT 'removed:function:f:' || seq, '1', 1 FROM tasks",
    """
    INSERT INTO audit (at, actor, workspace, action, outcome)
    SELECT 0, 'a', 'w' || seq % 20, 'b', 'done' FROM tasks""",
    """
    INSERT INTO functions SELECT 'f' || n, 'default', 'name' || n, 'python', 0, 0, '', '', '[]',
        '{}', 1, 1, 0 FROM generate_series(1, 5000) AS n""",
    "INSERT INTO workers SELECT 'w' || n, 'life', '', '', '{}', '[]', 0, 0, 'ready'"
    " FROM generate_series(0, 2) AS n",
    "VACUUM ANALYZE",
]


def _fill(url: str) -> None:
    migrated(url)
    database = PostgresDatabase(database_address(url))
    with closing(database.raw()) as connection:
        for sql in FILL:
            values = sql.replace(":now", str(NOW)).replace(":count", str(COUNT))
            connection.execute(values.encode())


@pytest.fixture(scope="module")
def connection() -> Iterator[PostgresConnection]:
    """A store with much of everything."""
    name = postgres.server().template("filled", _fill)
    database = PostgresDatabase(database_address(postgres.server().url(name)))
    with closing(database.connect()) as opened:
        yield opened


def plans(connection: PostgresConnection, sql: str, parameters: Any) -> list[str]:
    """How a statement is done: with these values, and with any."""
    rows = connection.select(f"EXPLAIN (COSTS OFF) {sql}", parameters).fetchall()
    generic = f"EXPLAIN (COSTS OFF, GENERIC_PLAN) {numbered(sql).sql}".encode()
    with closing(connection._wire._connect()) as raw:
        rows += raw.execute(generic).fetchall()
    return [row[0] for row in rows]


W: Final = {"workspace": WS}
GROUP: Final = W | {"group_name": "g3"}
SEQ: Final = {"seq": 77}
NAMED: Final[dict[str, Any]] = {
    "dispatch.ready": GROUP | {"limit": 128},
    "dispatch.ready_behind": GROUP | {"priority": 3, "seq": 33, "limit": 128},
    "dispatch.next_due": {},
    "dispatch.due_tasks": {"now": NOW + 500, "limit": 100},
    "dispatch.expired_tasks": {"now": NOW, "limit": 100},
    "dispatch.prunable": W | {"older_than": NOW + 500, "limit": 50},
    "dispatch.attempts_with_tasks": ('["attempt-14"]',),
    "dispatch.fired": {"schedule_id": "schedule-1", "due_at": 8},
    "dispatch.place_of": SEQ,
    "dispatch.adopt_attempts": {"worker_id": "w1", "incarnation": ""},
    "dispatch.place_task": [[value] for value in ("a", 7, "task-7", NOW, "w1", "life")],
    "tasks.ahead": GROUP | {"priority": 0, "seq": 1 << 40, "limit": 100},
    "tasks.task_by_id": {"id": "task-7"},
    "tasks.task_by_seq": SEQ,
    "tasks.task_by_key": W | {"key": "key-3"},
    "tasks.attempts_of_task": SEQ,
    "tasks.time_of_attempts": SEQ,
    "tasks.attempt_by_id": {"id": "attempt-14"},
    "tasks.attempts_unended": {},
    "tasks.attempts_unended_of": {"worker_id": "w1"},
    "tasks.events_of_task": SEQ | {"after": 0, "limit": 10},
    "tasks.request_kill": SEQ | {"now": NOW},
    "tasks.delete_task": SEQ,
    "tasks.delete_events": SEQ,
    "tasks.delete_labels": SEQ,
    "tasks.delete_inline_output": SEQ,
    "tasks.delete_attempts": SEQ,
    "tasks.update_state": [[value] for value in (7, "queued", "queued", 1, 1, "", 1, "", "", 0)],
    "tasks.leave_attempt": [
        [value] for value in (7, "running", "succeeded", 1, 1, None, 1, "", "", 0, "a")
    ],
    "tasks.append_event": [[value] for value in (7, 7, 1, 1, "k", None, None, None)],
    "dispatch.end_attempt": [[value] for value in ("a", "l", "failed", 1, 1, 1, "", "", "", None)],
    "locks.tasks": (["task-7", "task-8"],),
    "locks.histories": ([7, 8],),
    "locks.job": (WS, "g3", "job-3"),
    "locks.deliveries": ("task-7",),
    "endpoints.call_by_id": {"id": "call-7"},
    "endpoints.calls_of_workspace": W | {"issued_at": 5, "seq": 5, "limit": 9, "offset": 0},
    "endpoints.calls_of_function": W
    | {"function_id": "f3", "issued_at": 5, "seq": 5, "limit": 9, "offset": 0},
    "endpoints.unsettled_calls": {"after": 5, "limit": 9},
    "endpoints.calls_since_of_function": {"function_id": "f3", "since": COUNT - 500},
    "endpoints.calls_since_of_endpoint": {"endpoint_id": "e", "since": 5},
    "endpoints.settle": {"id": "call-7"},
    "endpoints.counter": {"key": "k", "period": "p"},
    "endpoints.removed_calls": {"scope": "removed:function:f:7", "today": "2", "week": "1"},
    "endpoints.entries_due": {"now": 9, "limit": 9},
    "endpoints.next_due_entry": {},
    "endpoints.entry_by_id": W | {"kind": "schedule", "id": "entry-7"},
    "endpoints.entries_oldest_first": W | {"kind": "schedule", "after": 9, "limit": 9},
    "endpoints.triggers_of_function": {"function_id": "f3"},
    "endpoints.delete_call_of_task": SEQ,
    "functions.function_by_name": W | {"name": "name7"},
    "functions.function_by_id": W | {"id": "f7"},
    "functions.functions_newest_first": W | {"after": "~", "deleted": 0, "tag": None, "limit": 9},
    "functions.result_of_task": SEQ,
    "functions.delete_results": SEQ,
    "functions.set_progress": {
        "fraction": 0.5,
        "text": "",
        "attempt_id": "attempt-14",
        "lease_token": "lease",
    },
    "jobs.due_jobs": {"now": NOW + 500, "limit": 9},
    "jobs.next_due_job": {},
    "jobs.job_by_id": GROUP | {"id": "job-3"},
    "jobs.jobs_of_group": GROUP,
    "jobs.recurring_jobs": W | {"limit": 9},
    "jobs.waiting_jobs": W | {"limit": 9},
    "jobs.owed": {"after": 5, "limit": 9},
    "jobs.executions_of_job": {"job_seq": 7, "limit": 9},
    "jobs.execution_of_task": {"task_id": "task-7"},
    "jobs.open_executions": {"job_seq": 7},
    "jobs.last_attempt": SEQ,
    "jobs.delete_execution_of_task": SEQ,
    "lists.entries_of_list": GROUP,
    "lists.listed_task": GROUP | {"number": 3},
    "lists.delete_entry_of_task": SEQ,
    "webhooks.due": {
        "now": NOW + 500,
        "limit": 64,
        "hosts": 64,
        "of_host": 4,
        "of_workspace": 32,
    },
    "webhooks.next_due": {"now": NOW},
    "webhooks.pending_number": {"id": "delivery-50"},
    "webhooks.deliveries": {"workspace": "w3", "before": COUNT, "limit": 9},
    "webhooks.deliveries_in_state": {
        "workspace": "w3",
        "state": "pending",
        "before": COUNT,
        "limit": 9,
    },
    "webhooks.deliveries_of_task": W | {"task_id": "task-7", "limit": 9},
    "webhooks.dispatches_of_task": W | {"task_id": "task-7", "limit": 9},
    "webhooks.forget_tries": {"task_id": "task-7"},
    "webhooks.forget_deliveries": {"task_id": "task-7"},
    "access.list_audit": {"workspace": "w3", "before": COUNT, "limit": 9},
    "access.trim_audit": {"workspace": "w3", "outcome": "done", "keep": 100},
}


@pytest.mark.parametrize("name", NAMED)
def test_no_large_table_is_walked_through(connection: PostgresConnection, name: str) -> None:
    """Every access is by an index, or through one of only what is asked for."""
    sql = queries("taskyard.store.postgres")[name]
    found = [line for line in plans(connection, sql, NAMED[name]) if SCANS.search(line)]
    assert found == []


LISTED: Final = {
    "everything": TaskQuery(workspace=WS),
    "oldest first": TaskQuery(workspace=WS, oldest_first=True),
    "behind a cursor": TaskQuery(workspace=WS, after_seq=COUNT // 2),
    "one state": TaskQuery(workspace=WS, states=frozenset({TaskState.SUCCEEDED})),
    "a group": TaskQuery(workspace=WS, group=GroupName("g3")),
    "a label": TaskQuery(workspace=WS, labels={"team": "x1"}),
    "a schedule": TaskQuery(workspace=WS, schedule_id=TaskId("schedule-3")),
    "a text": TaskQuery(workspace=WS, text="NAME"),
}


@pytest.mark.parametrize("query", LISTED.values(), ids=LISTED)
def test_pages_of_tasks_are_read_in_order(
    connection: PostgresConnection, query: TaskQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walks through indexes, merged: nothing is sorted, nothing walked through as a whole."""
    asked: list[tuple[str, Any]] = []
    select: Callable[..., Any] = connection.select

    def noting(sql: str, parameters: Any = ()) -> Any:
        asked.append((sql, parameters))
        return select(sql, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "select", noting)
        page = list_tasks(connection, query)
    assert len(page.tasks) == query.limit
    for sql, parameters in asked:
        lines = plans(connection, sql, parameters)
        assert [line for line in lines if SCANS.search(line)] == []
        assert [line for line in lines if "Sort" in line and "Key" not in line] == [], lines
