"""``taskyard logs``."""

import base64
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import write_out
from taskyard.cli.stream import PATIENCE_S, emit
from taskyard.sdk import Client
from taskyard.sdk.models import Exit
from taskyard.sdk.records import Output

Streams = tuple[str, ...]


def logs(
    task: str,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    attempt: int | None = None,
    stream: Literal["stdout", "stderr"] | None = None,
    offset: int = 0,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Print a task's output: its stdout to ours, its stderr to ours, byte for byte.

    With --json, prints JSON lines with offsets.

    Args:
        task: Task id; @last is the task submitted last.
        follow: Keep printing new output until the task, or the given attempt, has ended.
        attempt: Number of the attempt, from 1; the latest by default.
        stream: Only stdout or stderr.
        offset: Byte to start at; requires --stream.
        connection: Which server.
    """
    if offset < 0:
        raise UsageError("--offset: cannot be negative")
    if offset and stream is None:
        raise UsageError("--offset applies to one stream", what_to_do="Choose it with --stream.")
    task_id = task_id_of(task)
    streams: Streams = ("stdout", "stderr") if stream is None else (stream,)
    with connection.open() as client:
        records = (
            _follow(client, task_id, attempt, streams, offset)
            if follow
            else _read(client, task_id, attempt, streams, offset)
        )
        for record in records:
            if connection.json:
                write_out(msgspec.json.encode(as_message(record)) + b"\n")
            elif isinstance(record, Output):
                emit(record)
    return exit_status.OK


def _read(
    client: Client, task_id: str, attempt: int | None, streams: Streams, offset: int
) -> Iterator[Output | Exit]:
    number = attempt or client.get(task_id).attempt_count
    if not number:
        return
    for stream in streams:
        at = offset
        for data in client.log_chunks(task_id, stream, attempt=number, offset=offset):
            yield Output(number, stream, at, data)
            at += len(data)


def _follow(
    client: Client, task_id: str, attempt: int | None, streams: Streams, offset: int
) -> Iterator[Output | Exit]:
    """The attempt's records; without one named, those of every later attempt as well."""
    starts = {name: offset if name in streams else -1 for name in ("stdout", "stderr")}
    first = attempt
    if first is None:
        first = client.get(task_id).attempt_count or None
    number = first or 1
    for record in client.follow(task_id, attempt=first, patience_s=PATIENCE_S, **starts):
        yield record
        number = record.attempt
    # Number 0 is the end of a task that never ran: nothing comes after it.
    if attempt is None and number:
        for record in client.follow_task(task_id, after=number, patience_s=PATIENCE_S):
            if isinstance(record, Exit) or record.stream in streams:
                yield record


def as_message(record: Output | Exit) -> dict[str, Any]:
    """The record as the API sends it."""
    if isinstance(record, Exit):
        return {"type": "exit", **msgspec.structs.asdict(record)}
    message: dict[str, Any] = {
        "type": "output",
        "attempt": record.attempt,
        "stream": record.stream,
        "offset": record.offset,
        "next_offset": record.next_offset,
    }
    try:
        message["text"] = record.data.decode()
    except UnicodeDecodeError:
        message["base64"] = base64.b64encode(record.data).decode()
    return message
