"""Pages of tasks: keyset pagination whose cost does not grow with the table.

The order is that of acceptance. Whatever the filters, walks over indexes yield candidates in that
order; filters that no index answers (text, several labels, times) are tested on candidates, and a
page looks at a bounded number of them. A page that ran out of its share is short and says where
to go on.
"""

from typing import Any, Final

from taskyard.core.ids import TaskId
from taskyard.core.instants import SECOND
from taskyard.core.states import TaskState
from taskyard.ports.store import TaskPage, TaskQuery
from taskyard.store.sql.connection import Connection
from taskyard.store.sql.rows import shown_task

LOOK_AT: Final = 1_250
"""Candidates one page may look at."""
_QUOTING: Final = str.maketrans("\n\t", "  ", "'\"\\")
_COMMAND: Final = (
    "coalesce(spec ->> '$.work.shell',"
    " (SELECT group_concat(value, ' ') FROM json_each(spec, '$.work.argv')),"
    " '[' || (spec ->> '$.work.image') || '] ' ||"
    " coalesce((SELECT group_concat(value, ' ') FROM json_each(spec, '$.work.args')), ''),"
    " spec ->> '$.work.function', '')"
)
_WORDS: Final = (
    "replace(replace(replace(replace(replace({command}, '''', ''), '\"', ''), '\\', ''),"
    " char(10), ' '), char(9), ' ')"
)
"""A command as :func:`words_of` would have it."""


def words_of(text: str) -> str:
    """A part of a command without what quotes its words, in one line.

    Commands are shown as one would type them, and programs keep their words apart; so what was
    copied from a list, quotes or not, has to be found again.
    """
    return text.translate(_QUOTING)


def list_tasks(connection: Connection, query: TaskQuery) -> TaskPage:
    """Read one page of tasks."""
    walk, parameters = _walk(query)
    tests, more = _tests(query)
    # The limit inside keeps the order of the walk, and CROSS JOIN keeps the walk outside. The
    # filters run inside SQLite, so that rows which fail them never cost the interpreter.
    rows = connection.select(
        f"SELECT seq FROM ({walk} LIMIT :look_at) CROSS JOIN tasks ON seq = position "
        f"WHERE {tests} LIMIT :one_more",
        parameters | more | {"look_at": LOOK_AT, "one_more": query.limit + 1},
    ).fetchall()
    seqs: list[int] = [row[0] for row in rows[: query.limit]]
    if len(rows) > query.limit:
        return _page(connection, seqs, seqs[-1])
    last = connection.select(
        f"{walk} LIMIT 1 OFFSET :look_at", parameters | {"look_at": LOOK_AT - 1}
    ).fetchone()
    return _page(connection, seqs, last[0] if last is not None else None)


def _page(connection: Connection, seqs: list[int], next_seq: int | None) -> TaskPage:
    sql = "tasks.task_by_seq"
    found = (connection.execute(sql, {"seq": seq}).fetchone() for seq in seqs)
    tasks = [shown_task(connection, row) for row in found]
    ran: dict[TaskId, float] = {}
    for task in tasks:
        if task.attempt_count:
            (ran_us,) = connection.execute("tasks.time_of_attempts", {"seq": task.seq}).fetchone()
            if ran_us is not None:
                ran[task.id] = ran_us / SECOND
    return TaskPage(tasks, next_seq, ran)


def _walk(query: TaskQuery) -> tuple[str, dict[str, Any]]:
    """SQL that yields positions in order, lazily: it stops where the reader stops."""
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
    if query.after_seq is not None:
        parameters["after"] = query.after_seq
        where += f" AND {column} {'>' if query.oldest_first else '<'} :after"
    merged = " UNION ALL ".join(
        f"SELECT {column} AS position FROM {source} WHERE {where}{branch}" for branch in branches
    )
    return f"{merged} ORDER BY position {'ASC' if query.oldest_first else 'DESC'}", parameters


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
            "EXISTS (SELECT 1 FROM task_labels WHERE task_labels.workspace = :workspace "
            f"AND key = :key{number} AND value = :value{number} AND task_seq = tasks.seq)"
        )
    if query.text is not None:
        parameters |= {"text": query.text, "words": words_of(query.text)}
        found = [f"instr(lower({column}), lower(:text)) > 0" for column in ("group_name", "id")]
        found.append(_found("coalesce(name, '')", "shown(coalesce(name, ''))", "text"))
        if parameters["words"]:
            command, shown = (
                _WORDS.format(command=one) for one in (_COMMAND, f"shown({_COMMAND})")
            )
            found.append(_found(command, shown, "words"))
        tests.append(f"({' OR '.join(found)})")
    return " AND ".join(tests), parameters


def _found(whole: str, shown: str, parameter: str) -> str:
    """SQL for whether a text is found, also in what is shown: else guesses would tell the rest.

    What is shown takes longer to make, and is asked for only if the text is there at all.
    """
    return (
        f"CASE WHEN instr(lower({whole}), lower(:{parameter})) > 0"
        f" THEN instr(lower({shown}), lower(:{parameter})) > 0 ELSE 0 END"
    )
