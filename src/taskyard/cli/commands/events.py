"""``taskyard events``."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from taskyard.cli.connection import Connection
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import clean, print_json, say, write_out
from taskyard.sdk import Client
from taskyard.sdk.client_models import Gap
from taskyard.sdk.models import Change, Event

_LOOK_AGAIN_S: Final = 0.5
"""How soon the history of a task that has not ended is read again."""


def events(
    task: str | None = None,
    *,
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
    history: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Follow changes of tasks as they happen, until Ctrl-C; JSON lines unless on a terminal.

    With a task, print its history, and follow it until the task has ended.

    Args:
        task: Task id; @last is the task submitted last.
        group: Only this group.
        history: Print the history so far as one document, without waiting for the task to end.
        connection: Which server.
    """
    only = None if task is None and not history else task_id_of(task or "@last")
    with connection.open() as client:
        if only is not None and history:
            past = list(client.events(only))
            if connection.as_json:
                print_json(past)
            else:
                for event in past:
                    say(_format_event(event))
            return
        if only is not None:
            for event in _history(client, only):
                if connection.as_json:
                    _say_record("event", event)
                else:
                    say(_format_event(event))
            return
        for change in client.changes(group):
            if connection.as_json:
                _say_record("gap" if isinstance(change, Gap) else "change", change)
            else:
                say(_format_change(change))


def _history(client: Client, task_id: str) -> Iterator[Event]:
    """The history of a task, continued until it has ended."""
    seen = 0
    while True:
        # Asked first: if the task ends meanwhile, its end is in what is read next.
        ended = client.get(task_id).ended
        for event in islice(client.events(task_id), seen, None):
            seen += 1
            yield event
        if ended:
            return
        client.wait(task_id, timeout_s=_LOOK_AGAIN_S)


def _say_record(kind: str, record: Change | Gap | Event) -> None:
    write_out(msgspec.json.encode({"type": kind, **msgspec.structs.asdict(record)}) + b"\n")


def _format_event(event: Event) -> str:
    more = "  ".join(part for part in (event.actor, event.detail) if part)
    return f"{event.at.astimezone():%H:%M:%S.%f}  {event.kind:<14}  {clean(more)}"


def _format_change(change: Change | Gap) -> str:
    if isinstance(change, Gap):
        return f"… {'some' if change.missed is None else change.missed} changes were missed"
    was = f"{change.was} → " if change.was and change.was != change.state else ""
    reason = f" ({change.reason})" if change.reason else ""
    return clean(
        f"{change.at.astimezone():%H:%M:%S}  {change.task_id}  {change.group}  "
        f"{change.kind}: {was}{change.state}{reason}"
    )
