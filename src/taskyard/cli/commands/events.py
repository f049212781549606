"""``taskyard events``."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from taskyard.cli.connection import Connection
from taskyard.cli.last import task_id_of
from taskyard.cli.output import clean, print_json, say, write_out
from taskyard.sdk.models import Change, Gap


def events(
    task: str | None = None,
    *,
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
    history: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Follow changes of tasks as they happen, until Ctrl-C; JSON lines unless on a terminal.

    Args:
        task: Only this task; @last is the one submitted last.
        group: Only this group.
        history: Print what has happened to the task so far instead.
        connection: Which server.
    """
    only = None if task is None and not history else task_id_of(task or "@last")
    with connection.open() as client:
        if history and only is not None:
            past = list(client.events(only))
            if connection.as_json:
                print_json(past)
                return
            for event in past:
                more = "  ".join(part for part in (event.actor, event.detail) if part)
                say(f"{event.at.astimezone():%H:%M:%S.%f}  {event.kind:<14}  {clean(more)}")
            return
        for change in client.changes(group, only):
            if connection.as_json:
                kind = "gap" if isinstance(change, Gap) else "change"
                line = {"type": kind, **msgspec.structs.asdict(change)}
                write_out(msgspec.json.encode(line) + b"\n")
            else:
                say(_tell(change))


def _tell(change: Change | Gap) -> str:
    if isinstance(change, Gap):
        return f"… {'some' if change.missed is None else change.missed} changes were missed"
    was = f"{change.was} → " if change.was and change.was != change.state else ""
    reason = f" ({change.reason})" if change.reason else ""
    return clean(
        f"{change.at.astimezone():%H:%M:%S}  {change.task_id}  {change.group}  "
        f"{change.kind}: {was}{change.state}{reason}"
    )
