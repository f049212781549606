"""``taskyard ls``."""

import sys
import time
from itertools import islice
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.output import coloured, console, plain, print_json, print_table, table
from taskyard.cli.quantities import moment
from taskyard.cli.task_options import pairs
from taskyard.cli.task_view import TASK_COLUMNS, task_rows
from taskyard.sdk import Client
from taskyard.sdk.models import Task

State = Literal[
    "scheduled",
    "queued",
    "running",
    "retrying",
    "succeeded",
    "failed",
    "dead",
    "cancelled",
    "expired",
]
_PAGE = 500
_REFRESH_S = 1.0


def ls(
    *,
    state: tuple[State, ...] = (),
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
    label: Annotated[tuple[str, ...], Parameter(name=["--label", "-l"])] = (),
    text: str | None = None,
    after: str | None = None,
    before: str | None = None,
    schedule: str | None = None,
    oldest: bool = False,
    limit: int = 50,
    counts: bool = False,
    watch: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List tasks, newest first.

    Args:
        state: Only tasks in these states; repeatable.
        group: Only this group.
        label: Only tasks with the label KEY=VALUE; repeatable, all must match.
        text: Only tasks with this text in their name, group, id or command.
        after: Only tasks created after this time.
        before: Only tasks created before this time.
        schedule: Only runs of this recurring task.
        oldest: Oldest first.
        limit: Maximum number of tasks.
        counts: Print the number of tasks in each state instead.
        watch: Refresh the table until Ctrl-C.
        connection: Which server.
    """
    if limit < 1:
        raise UsageError("--limit: must be at least 1")
    query: dict[str, Any] = {
        "state": list(state),
        "group": group,
        "label": [f"{key}:{value}" for key, value in pairs(label, "--label").items()],
        "text": text,
        "created_after": None if after is None else moment(after, "--after"),
        "created_before": None if before is None else moment(before, "--before"),
        "schedule": schedule,
        "order": "oldest" if oldest else None,
        "limit": min(limit, _PAGE),
    }
    with connection.open() as client:
        if counts:
            _print_counts(client.counts(group), connection.as_json)
        elif watch:
            _watch(client, query, limit)
        elif connection.as_json:
            print_json(_tasks(client, query, limit))
        else:
            print_table(TASK_COLUMNS, task_rows(_tasks(client, query, limit)))


def _tasks(client: Client, query: dict[str, Any], limit: int) -> list[Task]:
    return list(islice(client.list(**query), limit))


def _print_counts(counts: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(counts)
    else:
        rows = ((coloured(state), plain(count)) for state, count in counts.items())
        print_table(("STATE", "TASKS>"), rows)


def _watch(client: Client, query: dict[str, Any], limit: int) -> None:
    if not sys.stdout.isatty():
        raise UsageError(
            "--watch needs a terminal", what_to_do="Use 'taskyard events' for changes as JSON."
        )
    from rich.live import Live  # noqa: PLC0415 - slow to load, and only this needs it

    screen = console()
    limit = min(limit, max(1, screen.height - 4))
    with Live(console=screen, auto_refresh=False, screen=True) as live:
        while True:
            rows = task_rows(_tasks(client, {**query, "limit": limit}, limit))
            live.update(table(TASK_COLUMNS, rows), refresh=True)
            time.sleep(_REFRESH_S)
