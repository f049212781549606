"""Pages of tasks: keyset pagination whose cost does not grow with the table.

The order is that of acceptance. Whatever the filters, walks over indexes yield candidates in that
order; filters that no index answers (text, several labels, times) are tested on candidates, and a
page looks at a bounded number of them. A page that ran out of its share is short and says where
to go on.
"""

import string
from typing import Any, Final

from msgspec.structs import replace

from taskyard.core.access.redaction import redact_text
from taskyard.core.access.secret_text import Allowance
from taskyard.core.ids import TaskId
from taskyard.core.instants import SECOND
from taskyard.core.states import TaskState
from taskyard.ports.store import TaskPage, TaskQuery
from taskyard.store.sql.connection import Connection, Row
from taskyard.store.sql.rows import column_text, shown_task

LOOK_AT: Final = 1_250
"""Candidates one page may look at."""
_LOOKS: Final = 8
"""How often one page looks for more where what was found must not be told."""
_READ: Final = 4096
"""Characters of a command that are looked through for secrets: one search meets many commands."""
_QUOTING: Final = str.maketrans("\n\t", "  ", "'\"\\")
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Letters as the databases compare them."""


def words_of(text: str) -> str:
    """A part of a command without what quotes its words, in one line.

    Commands are shown as one would type them, and programs keep their words apart; so what was
    copied from a list, quotes or not, has to be found again.
    """
    return text.translate(_QUOTING)


def list_tasks(connection: Connection, query: TaskQuery) -> TaskPage:
    """Read one page of tasks."""
    if query.text is not None:
        query = replace(query, text=column_text(query.text))
    tests, more = _tests(connection, query)
    columns = "seq"
    if query.text is not None:
        command = connection.text("task_list.command") if "words" in more else "''"
        # What is shown takes longer to make, and is asked for only if the text is there at all.
        columns = f"seq, group_name, id, coalesce(name, ''), {command}"
    order = "task_list.oldest_first" if query.oldest_first else "task_list.newest_first"
    limit = connection.text(order)
    seqs: list[int] = []
    after = query.after_seq
    for _ in range(_LOOKS):
        walk, parameters = _walk(query, after)
        wanted = query.limit + 1 - len(seqs)
        # The limit inside keeps the order of the walk, and CROSS JOIN keeps the walk outside. The
        # filters run inside the database, so that rows which fail them never cost the interpreter.
        rows = connection.select(
            f"SELECT {columns} FROM ({walk} LIMIT :look_at) AS walk CROSS JOIN tasks "
            f"WHERE seq = place AND {tests} {limit} :wanted",
            parameters | more | {"look_at": LOOK_AT, "wanted": wanted},
        ).fetchall()
        seqs += [row[0] for row in rows if query.text is None or _is_found(row, query.text)]
        if len(seqs) > query.limit:
            seqs.pop()
            return _page(connection, seqs, seqs[-1])
        if len(rows) < wanted:
            last = connection.select(
                f"{walk} LIMIT 1 OFFSET :look_at", parameters | {"look_at": LOOK_AT - 1}
            ).fetchone()
            return _page(connection, seqs, last[0] if last is not None else None)
        after = rows[-1][0]
    return _page(connection, seqs, after)


def _is_found(row: Row, text: str) -> bool:
    """Whether a text is found in what is shown of a task: else guesses would tell the rest."""
    _, group, task_id, name, command = row
    lower = text.translate(_LOWER)
    if any(lower in one.translate(_LOWER) for one in (group, task_id, _shown(name))):
        return True
    words = words_of(lower)
    return bool(words) and words in words_of(_shown(command)).translate(_LOWER)


def _shown(text: str) -> str:
    return redact_text(text, Allowance(_READ))


def _page(connection: Connection, seqs: list[int], next_seq: int | None) -> TaskPage:
    found = connection.execute_each("tasks.task_by_seq", [{"seq": seq} for seq in seqs])
    tasks = [shown_task(connection, rows[0]) for rows in found]
    ran: dict[TaskId, float] = {}
    for task in tasks:
        if task.attempt_count:
            (ran_us,) = connection.execute("tasks.time_of_attempts", {"seq": task.seq}).fetchone()
            if ran_us is not None:
                ran[task.id] = ran_us / SECOND
    return TaskPage(tasks, next_seq, ran)


def _walk(query: TaskQuery, after: int | None) -> tuple[str, dict[str, Any]]:
    """SQL that yields places in order, lazily: it stops where the reader stops."""
    parameters: dict[str, Any] = {"workspace": query.workspace}
    where, column, source = "workspace = :workspace", "seq", "tasks"
    branches = [""]
    if query.labels:
        key, value = next(iter(query.labels.items()))
        parameters |= {"key": key, "value": value}
        where += " AND key = :key AND value = :value"
        column, source = "task_seq", "task_labels"
    elif query.schedule_id is not None:
        parameters["schedule_id"] = query.schedule_id
        where += " AND schedule_id = :schedule_id"
    else:
        # One walk for each state, merged: so the indexes that serve a filter by state serve the
        # listing of everything as well, and an insert has one index less to keep.
        if query.group is not None:
            parameters["group_name"] = query.group
            where += " AND group_name = :group_name"
        branches = [f" AND state = '{state}'" for state in sorted(query.states or TaskState)]
    if after is not None:
        parameters["after"] = after
        where += f" AND {column} {'>' if query.oldest_first else '<'} :after"
    order = "ASC" if query.oldest_first else "DESC"
    walks = [f"SELECT {column} AS place FROM {source} WHERE {where}{branch}" for branch in branches]
    if len(walks) > 1:
        # PostgreSQL merges what it is told to be in order.
        walks = [f"SELECT place FROM ({walk} ORDER BY place {order}) AS branch" for walk in walks]
    return f"{' UNION ALL '.join(walks)} ORDER BY place {order}", parameters


def _tests(connection: Connection, query: TaskQuery) -> tuple[str, dict[str, Any]]:
    """SQL for all the filters, over the columns of one candidate."""
    tests = ["1 = 1"]
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
        tests.append("schedule_id = :schedule_id")
    if query.created_after is not None:
        parameters["created_after"] = query.created_after
        tests.append("created_at >= :created_after")
    if query.created_before is not None:
        parameters["created_before"] = query.created_before
        tests.append("created_at < :created_before")
    for number, (key, value) in enumerate(query.labels.items()):
        parameters[f"key{number}"], parameters[f"value{number}"] = key, value
        tests.append(
            "EXISTS (SELECT 1 FROM task_labels WHERE task_labels.workspace = :workspace "
            f"AND key = :key{number} AND value = :value{number} AND task_seq = tasks.seq)"
        )
    if query.text is not None:
        contains = connection.text("task_list.contains")
        parameters["text"] = query.text
        places = dict.fromkeys(("group_name", "id", "coalesce(name, '')"), "text")
        if words := words_of(query.text):
            parameters["words"] = words
            places[connection.text("task_list.words")] = "words"
        found = [
            f"{contains}(lower({place}), lower(CAST(:{parameter} AS text))) > 0"
            for place, parameter in places.items()
        ]
        tests.append(f"({' OR '.join(found)})")
    return " AND ".join(tests), parameters
