"""What queries cost: by the planner's word, and by counting the steps of SQLite's machine."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fakes.specs import NOW
from fakes.stores import FAST, prepare
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.states import TaskState
from taskyard.ports.store import TaskPage, TaskQuery
from taskyard.store.sql import task_list as listing_module
from taskyard.store.sql.queries import queries
from taskyard.store.sql.task_list import list_tasks
from taskyard.store.sqlite.database import FILE_NAME, SqliteConnection, connect

WS = WorkspaceName("default")
FEW, MANY = 2_000, 50_000
STATES = ("queued", "succeeded", "failed", "cancelled", "scheduled", "running")

FILL = """
WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < :count)
INSERT INTO tasks (seq, id, workspace, group_name, name, state, priority, created_at, queued_at,
                   start_at, current_attempt, finished_at, schedule_id, due_at, spec)
SELECT seq, 'task-' || seq, 'default', 'g' || (seq % 10), 'name ' || seq, state, seq % 5, :now,
       iif(state = 'queued', :now, NULL), iif(state = 'scheduled', :now + seq, NULL),
       iif(state = 'running', 'attempt-' || seq, NULL),
       iif(state IN ('succeeded', 'failed', 'cancelled'), :now + seq, NULL),
       'schedule-' || (seq % 7), seq, '{"work": {"runtime": "command", "argv": ["true"]}}'
FROM (SELECT seq, CASE WHEN seq % 20 = 7 THEN 'succeeded' WHEN seq % 20 = 8 THEN 'failed'
             WHEN seq % 20 = 9 THEN 'cancelled' WHEN seq % 20 = 10 THEN 'scheduled'
             WHEN seq % 200 = 11 THEN 'running' ELSE 'queued' END AS state FROM n)
"""
LABELS = """
INSERT INTO task_labels SELECT 'default', 'team', 'x' || (seq % 4), seq FROM tasks
"""
ATTEMPTS = """
INSERT INTO attempts (id, task_seq, task_id, workspace, number, worker_id, incarnation, lease_token,
                      lease_expires_at, state, assigned_at, finished_at, resources)
SELECT 'attempt-' || seq, seq, id, workspace, 1, 'w' || (seq % 3), 'life', 'lease', 0,
       iif(state = 'running', 'running', 'succeeded'), 0, iif(state = 'running', NULL, 1), '{}'
FROM tasks WHERE state != 'queued'
"""
COUNTS = """
INSERT INTO task_counts SELECT workspace, group_name, state, count(*) FROM tasks GROUP BY 1, 2, 3
"""


def filled(directory: Path, count: int) -> sqlite3.Connection:
    """A store with so many tasks."""
    prepare(directory)
    connection = connect(directory / FILE_NAME)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute(FILL, {"count": count, "now": NOW})
    for sql in (LABELS, ATTEMPTS, COUNTS):
        connection.execute(sql)
    connection.execute("COMMIT")
    return connection


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[sqlite3.Connection, ...]]:
    """A store with few tasks and one with many."""
    with tempfile.TemporaryDirectory(dir=FAST) as directory:
        stores = tuple(filled(Path(directory) / str(count), count) for count in (FEW, MANY))
        yield stores
        for connection in stores:
            connection.close()


def steps(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], Any]) -> int:
    """Hundreds of virtual machine instructions that an operation takes."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 100)
    try:
        operation(connection)
    finally:
        connection.set_progress_handler(None, 0)
    return count


def listing(**members: Any) -> Callable[[sqlite3.Connection], Any]:
    """A page of tasks."""

    def read(connection: sqlite3.Connection) -> Any:
        page = list_tasks(SqliteConnection(connection), TaskQuery(workspace=WS, **members))
        assert len(page.tasks) == members.get("limit", 50)
        return page

    return read


def named(file: str, name: str, **parameters: Any) -> Callable[[sqlite3.Connection], Any]:
    """One of the named queries."""
    sql = SQL[f"{file}.{name}"]
    return lambda connection: connection.execute(sql, parameters).fetchall()


def positional(file: str, name: str, *parameters: Any) -> Callable[[sqlite3.Connection], Any]:
    """One of the named queries that binds by position."""
    sql = SQL[f"{file}.{name}"]
    return lambda connection: connection.execute(sql, parameters).fetchall()


SQL = queries("taskyard.store.sqlite")
MIDDLE = FEW // 2
GROUP = {"workspace": "default", "group_name": "g3"}
OPERATIONS = {
    "list everything": listing(),
    "list everything, oldest first": listing(oldest_first=True),
    "list everything, behind a cursor": listing(after_seq=MIDDLE),
    "list everything, oldest first, behind a cursor": listing(after_seq=9, oldest_first=True),
    "list one state": listing(states=frozenset({TaskState.SUCCEEDED})),
    "list two states": listing(states=frozenset({TaskState.SUCCEEDED, TaskState.QUEUED})),
    "list a group": listing(group=GroupName("g3")),
    "list a group and a state": listing(
        group=GroupName("g3"), states=frozenset({TaskState.QUEUED})
    ),
    "list a label": listing(labels={"team": "x1"}),
    "list a label, oldest first": listing(labels={"team": "x1"}, oldest_first=True),
    "list a schedule": listing(schedule_id=TaskId("schedule-3")),
    "list a text": listing(text="NAME", limit=5),
    "ready": named("dispatch", "ready", **GROUP, limit=128),
    "ready behind": named("dispatch", "ready_behind", **GROUP, priority=3, seq=33, limit=128),
    "next due": named("dispatch", "next_due"),
    "due": named("dispatch", "due_tasks", now=NOW + 500, limit=5),
    "expired": named("dispatch", "expired_tasks", now=NOW, limit=5),
    "backlogs": named("dispatch", "backlogs"),
    "counts of all": named("dispatch", "all_counts"),
    "counts of a workspace": named("tasks", "counts_of_workspace", workspace="default"),
    "counts of a group": named("tasks", "counts_of_group", **GROUP),
    "groups": named("groups", "groups_page", workspace="default", after="", limit=50),
    "ahead": named("tasks", "ahead", **GROUP, priority=0, seq=1 << 40, limit=100),
    "prunable": named("dispatch", "prunable", workspace="default", older_than=NOW + FEW, limit=50),
    "ended counts": named("dispatch", "ended_counts"),
    "attempts of a worker": lambda connection: connection.execute(
        SQL["tasks.attempts_unended_of"], {"worker_id": "w1"}
    ).fetchmany(2),
    "an attempt with its task": positional("dispatch", "attempts_with_tasks", '["attempt-11"]'),
    "a firing": named("dispatch", "fired", schedule_id="schedule-1", due_at=8),
    "a task by id": named("tasks", "task_by_id", id="task-7"),
    "a task by key": named("tasks", "task_by_key", workspace="default", key="k"),
    "where the order goes on": named("tasks", "last_seq"),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_cost_does_not_grow_with_the_table(
    both: tuple[sqlite3.Connection, ...], operation: Callable[[sqlite3.Connection], Any]
) -> None:
    """A hundred times the tasks, at most 1.3 times the steps."""
    few, many = (steps(connection, operation) for connection in both)
    assert many <= few * 1.3 + 5


GROUPS = OPERATIONS["groups"]
PLANNED = {
    name: operation for name, operation in OPERATIONS.items() if not name.startswith("list")
} | {
    "unended attempts of a worker": named("tasks", "attempts_unended_of", worker_id="w1"),
    "all unended attempts": named("tasks", "attempts_unended"),
    "place": positional("dispatch", "place_task", "", 0, "", 0, "w", "i"),
    "adopt": named("dispatch", "adopt_attempts", worker_id="none", incarnation=""),
}


@pytest.mark.parametrize("operation", PLANNED.values(), ids=PLANNED)
def test_no_table_of_tasks_or_attempts_is_scanned(
    both: tuple[sqlite3.Connection, ...], operation: Callable[[sqlite3.Connection], Any]
) -> None:
    """Every access is by an index or through a part of one that holds only what is asked for."""
    for line in plan_of(both[0], operation):
        assert not scans(line), line
        # A page of groups is sorted once more at the end, when it is no longer than a page.
        assert "USE TEMP B-TREE FOR ORDER BY" not in line or operation is GROUPS, line


LISTED = {name: operation for name, operation in OPERATIONS.items() if name.startswith("list")}


@pytest.mark.parametrize("operation", LISTED.values(), ids=LISTED)
def test_listings_neither_scan_nor_sort(
    both: tuple[sqlite3.Connection, ...], operation: Callable[[sqlite3.Connection], Any]
) -> None:
    """The walk through the indexes is in the order of the page."""
    for line in plan_of(both[0], operation):
        assert not scans(line), line
        assert "TEMP B-TREE" not in line, line
        assert "MATERIALIZE" not in line, line


def scans(line: str) -> bool:
    """Whether a line of a plan walks a whole table, or an index of all of it."""
    words = line.split()
    if words[0] != "SCAN" or words[1] not in {"tasks", "attempts", "t", "a", "task_labels"}:
        return False
    return not any(
        f"INDEX {part}" in line for part in ("tasks_due", "tasks_expiring", "attempts_unended")
    )


def plan_of(
    connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], Any]
) -> list[str]:
    """The planner's lines for every statement that an operation runs."""
    lines: list[str] = []

    class Explaining:
        """Stands in for the connection and asks for plans besides."""

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            lines.extend(row[3] for row in plan)
            return connection.execute(sql, parameters)

    connection.execute("BEGIN")
    try:
        operation(Explaining())  # type: ignore[arg-type]  # all that operations use of one
    finally:
        connection.execute("ROLLBACK")
    assert lines
    return lines


def searching(query: TaskQuery) -> Callable[[sqlite3.Connection], TaskPage]:
    """The page of a query."""
    return lambda connection: list_tasks(SqliteConnection(connection), query)


@pytest.mark.parametrize("text", ["name 77", "no such name"])
def test_a_search_looks_at_a_bounded_number(
    both: tuple[sqlite3.Connection, ...], text: str
) -> None:
    """A page that finds nothing is short, says where to go on, and costs the same anywhere."""
    read = searching(TaskQuery(workspace=WS, text=text))
    page = read(both[1])
    assert page.next_seq is not None
    assert len(page.tasks) < 50
    first = steps(both[1], read)
    behind = searching(TaskQuery(workspace=WS, text=text, after_seq=page.next_seq))
    assert steps(both[1], behind) <= first * 1.3


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("look_at", [1, 3, 7])
def test_pages_that_end_early_lose_nothing(
    both: tuple[sqlite3.Connection, ...],
    monkeypatch: pytest.MonkeyPatch,
    look_at: int,
    oldest_first: bool,
) -> None:
    """However few candidates a page may look at, following the cursor finds every match once."""
    monkeypatch.setattr(listing_module, "LOOK_AT", look_at)
    query = TaskQuery(
        workspace=WS,
        group=GroupName("g3"),
        text="name 1",
        limit=2,
        oldest_first=oldest_first,
    )
    found: list[int] = []
    while True:
        page = list_tasks(SqliteConnection(both[0]), query)
        found += [task.seq for task in page.tasks]
        if page.next_seq is None:
            break
        query = replace(query, after_seq=page.next_seq)
    wanted = [seq for seq in range(1, FEW + 1) if seq % 10 == 3 and str(seq).startswith("1")]
    assert found == (wanted if oldest_first else wanted[::-1])
