"""Pages of tasks: keyset pagination whose cost does not grow with the table.

The order is that of acceptance. Whatever the filters, one index walk yields candidates in that
order; filters that no index answers (text, several labels, times) are tested on candidates, and a
page looks at a bounded number of them. A page that ran out of its share is short and says where
to go on.
"""

import sqlite3
from typing import Any, Final

from taskyard.core.states import TaskState
from taskyard.ports.store import TaskPage, TaskQuery
from taskyard.store.sqlite.database import queries
from taskyard.store.sqlite.rows import task_of

_SQL: Final = queries("tasks")
LOOK_AT: Final = 20_000
"""Candidates one page may look at."""


def list_tasks(connection: sqlite3.Connection, query: TaskQuery) -> TaskPage:
    """The page that a query asks for."""
    direction = "ASC" if query.oldest_first else "DESC"
    candidates, parameters = _candidates(query, direction)
    tests, more = _tests(query)
    parameters.update(more)
    rows = connection.execute(
        f"SELECT seq, {tests} FROM ({candidates} LIMIT :look_at)",
        parameters | {"look_at": LOOK_AT},
    )
    seqs: list[int] = []
    seen = 0
    last: int | None = None
    for seq, passes in rows:
        seen += 1
        if passes:
            if len(seqs) == query.limit:
                return _page(connection, seqs, seqs[-1])
            seqs.append(seq)
        last = seq
    rows.close()
    return _page(connection, seqs, last if seen == LOOK_AT else None)


def _page(connection: sqlite3.Connection, seqs: list[int], next_seq: int | None) -> TaskPage:
    sql = _SQL.task_by_seq.sql
    found = (connection.execute(sql, {"seq": seq}).fetchone() for seq in seqs)
    return TaskPage([task_of(row) for row in found], next_seq)


def _candidates(query: TaskQuery, direction: str) -> tuple[str, dict[str, Any]]:
    """SQL that yields tasks in order of ``seq``, lazily: it stops where the reader stops."""
    parameters: dict[str, Any] = {"workspace": query.workspace, "after": query.after_seq}
    behind = ""
    if query.after_seq is not None:
        behind = f" AND seq {'>' if query.oldest_first else '<'} :after"
    if query.labels:
        key, value = next(iter(query.labels.items()))
        parameters |= {"key": key, "value": value}
        walks = [
            "SELECT task_seq AS position FROM task_labels WHERE workspace = :workspace "
            f"AND key = :key AND value = :value{behind.replace('seq', 'task_seq')}"
        ]
    elif query.schedule_id is not None:
        parameters["schedule_id"] = query.schedule_id
        walks = [
            "SELECT seq AS position FROM tasks "
            f"WHERE schedule_id = :schedule_id AND workspace = :workspace{behind}"
        ]
    else:
        # One walk for each state, merged: so the indexes that serve a filter by state serve the
        # listing of everything as well, and an insert has one index less to keep.
        where = "workspace = :workspace"
        if query.group is not None:
            parameters["group_name"] = query.group
            where += " AND group_name = :group_name"
        walks = [
            f"SELECT seq AS position FROM tasks WHERE {where} AND state = '{state}'{behind}"
            for state in sorted(query.states or TaskState)
        ]
    merged = " UNION ALL ".join(walks)
    # CROSS JOIN keeps the walk outside, so that its order is the order of the result.
    return (
        f"SELECT tasks.* FROM ({merged} ORDER BY position {direction}) CROSS JOIN tasks "
        "ON tasks.seq = position",
        parameters,
    )


def _tests(query: TaskQuery) -> tuple[str, dict[str, Any]]:
    """SQL for all the filters, over the columns of one candidate."""
    tests = ["1"]
    parameters: dict[str, Any] = {}
    if query.states:
        names = []
        for number, state in enumerate(sorted(query.states)):
            parameters[f"state{number}"] = state.value
            names.append(f":state{number}")
        tests.append(f"state IN ({', '.join(names)})")
    if query.group is not None:
        parameters["group_name"] = query.group
        tests.append("group_name = :group_name")
    if query.schedule_id is not None:
        parameters["schedule_id"] = query.schedule_id
        tests.append("schedule_id IS :schedule_id")
    if query.created_after is not None:
        parameters["created_after"] = query.created_after
        tests.append("created_at >= :created_after")
    if query.created_before is not None:
        parameters["created_before"] = query.created_before
        tests.append("created_at < :created_before")
    for number, (key, value) in enumerate(query.labels.items()):
        parameters[f"key{number}"], parameters[f"value{number}"] = key, value
        tests.append(
            "EXISTS (SELECT 1 FROM task_labels WHERE workspace = :workspace "
            f"AND key = :key{number} AND value = :value{number} AND task_seq = seq)"
        )
    if query.text is not None:
        parameters["text"] = query.text
        found = [
            f"instr(lower({column}), lower(:text)) > 0"
            for column in (
                "coalesce(name, '')",
                "group_name",
                "id",
                "coalesce(spec ->> '$.work.shell', spec ->> '$.work.argv', '')",
            )
        ]
        tests.append(f"({' OR '.join(found)})")
    return " AND ".join(tests), parameters
