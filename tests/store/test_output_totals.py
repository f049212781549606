"""How much output is kept is known without adding it up."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fakes.stores import opened
from taskyard.core.ids import TaskId, WorkspaceName
from taskyard.store.sqlite.database import FILE_NAME, connect

pytestmark = pytest.mark.anyio
A, B = WorkspaceName("a"), WorkspaceName("b")


def add(connection: sqlite3.Connection, name: str, seq: int, workspace: str) -> None:
    """An attempt that runs."""
    connection.execute(
        "INSERT INTO tasks (seq, id, workspace, group_name, state, priority, created_at, queued_at,"
        " spec) VALUES (?, ?, ?, 'g', 'queued', 0, 0, 0, '{}') ON CONFLICT DO NOTHING",
        (seq, f"t{seq}", workspace),
    )
    connection.execute(
        "INSERT INTO attempts (id, task_seq, task_id, workspace, number, worker_id, incarnation,"
        " lease_token, lease_expires_at, state, assigned_at, resources)"
        " VALUES (?, ?, ?, ?, (SELECT count(*) FROM attempts WHERE task_seq = ?), 'w', 'i', 'l', 0,"
        " 'running', 0, '{}')",
        (name, seq, f"t{seq}", workspace, seq),
    )


def end(connection: sqlite3.Connection, name: str, outcome: object) -> None:
    """It has ended; its outcome is a document, or a text as it is."""
    text = outcome if outcome is None or isinstance(outcome, str) else json.dumps(outcome)
    connection.execute(
        "UPDATE attempts SET state = 'succeeded', finished_at = 1, outcome = ? WHERE id = ?",
        (text, name),
    )


async def test_totals_follow_what_ends_and_what_goes(tmp_path: Path) -> None:
    """By workspace and by task; what cannot be read counts as nothing."""
    store = await opened(tmp_path)
    with closing(connect(tmp_path / FILE_NAME)) as other:
        for name, seq, workspace in (("x", 1, A), ("y", 1, A), ("z", 2, B), ("odd", 3, B)):
            add(other, name, seq, workspace)
        end(other, "x", {"stdout": {"stored_bytes": 100, "dropped_bytes": 7}})
        end(
            other,
            "y",
            {"stdout": {"stored_bytes": 1}, "stderr": {"stored_bytes": 10}, "order_bytes": 10},
        )
        end(other, "z", None)
        end(other, "odd", "no json")
        other.commit()
        assert (await store.output.totals()).get(A) == 121
        assert (await store.output.totals()).get(B, 0) == 0
        assert await store.output.of_task(TaskId("t1")) == 121
        assert await store.output.of_task(TaskId("unknown")) == 0
        end(other, "z", {"stderr": {"stored_bytes": 5}})
        other.execute("DELETE FROM attempts WHERE id IN ('x', 'odd')")
        other.commit()
        assert await store.output.totals() == {A: 21, B: 5}
    await store.close()
