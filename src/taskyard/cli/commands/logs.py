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
from taskyard.cli.stream import PATIENCE_S, emit, tell_missing
from taskyard.core.instants import from_datetime, rfc3339
from taskyard.core.line_times import LineTimes
from taskyard.sdk import Client
from taskyard.sdk.client_models import Output
from taskyard.sdk.models import Exit


def logs(
    task: str,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    attempt: int | None = None,
    stream: Literal["stdout", "stderr"] | None = None,
    offset: int = 0,
    timestamps: Annotated[bool, Parameter(name=["--timestamps", "-t"], negative=())] = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Print a task's output in the order it was written: its stdout to ours, its stderr to ours.

    Byte for byte; with --json, as JSON lines with offsets.

    Args:
        task: Task id; @last is the task submitted last.
        follow: Keep printing new output until the task, or the given attempt, has ended.
        attempt: Number of the attempt, from 1; the latest by default.
        stream: Only stdout or stderr.
        offset: Byte to start at; requires --stream.
        timestamps: Put before each line when it was written (UTC); - where that is unknown.
        connection: Which server.
    """
    if offset < 0:
        raise UsageError("--offset: cannot be negative")
    if offset and stream is None:
        raise UsageError("--offset applies to one stream", what_to_do="Choose it with --stream.")
    task_id = task_id_of(task)
    part = _Part(task_id, attempt, stream, offset, timestamps)
    stamps = LineTimes() if timestamps else None
    is_whole = True
    with connection.open() as client:
        for record in _follow(client, part) if follow else _read(client, part):
            if connection.json and (follow or isinstance(record, Output)):
                write_out(msgspec.json.encode(as_message(record)) + b"\n")
            elif isinstance(record, Output):
                emit(record if stamps is None else _stamped(stamps, record))
            is_whole = tell_missing(record) and is_whole
    return exit_status.OK if is_whole else exit_status.FAILED


class _Part(msgspec.Struct, frozen=True):
    """What of a task's output is asked for."""

    task_id: str
    attempt: int | None
    stream: str | None
    """Both when None."""
    offset: int
    timestamps: bool

    def start(self, name: str) -> int:
        """Where to begin in a stream; -1 leaves it out."""
        return self.offset if self.stream in (None, name) else -1


def _read(client: Client, part: _Part) -> Iterator[Output | Exit]:
    """Output up to its present end."""
    number = part.attempt or client.get(part.task_id).attempt_count
    if not number:
        return
    if part.stream is not None and not part.timestamps:
        at = part.offset
        for data in client.log_chunks(part.task_id, part.stream, attempt=number, offset=at):
            yield Output(number, part.stream, at, data)
            at += len(data)
        return
    yield from client.follow(
        part.task_id,
        attempt=number,
        wait=False,
        timestamps=part.timestamps,
        patience_s=PATIENCE_S,
        stdout=part.start("stdout"),
        stderr=part.start("stderr"),
    )


def _follow(client: Client, part: _Part) -> Iterator[Output | Exit]:
    """The attempt's records; without one named, those of every later attempt as well."""
    first = part.attempt
    if first is None:
        first = client.get(part.task_id).attempt_count or None
    number = first or 1
    for record in client.follow(
        part.task_id,
        attempt=first,
        timestamps=part.timestamps,
        patience_s=PATIENCE_S,
        stdout=part.start("stdout"),
        stderr=part.start("stderr"),
    ):
        yield record
        number = record.attempt
    # Number 0 is the end of a task that never ran: nothing comes after it.
    if part.attempt is None and number:
        for record in client.follow_task(
            part.task_id, after=number, timestamps=part.timestamps, patience_s=PATIENCE_S
        ):
            if isinstance(record, Exit) or part.stream in (None, record.stream):
                yield record


def _stamped(stamps: LineTimes, record: Output) -> Output:
    at = None if record.at is None else rfc3339(from_datetime(record.at))
    data = stamps.stamped(record.stream, at, record.data)
    return msgspec.structs.replace(record, data=data)


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
    if record.at is not None:
        message["at"] = rfc3339(from_datetime(record.at))
    try:
        message["text"] = record.data.decode()
    except UnicodeDecodeError:
        message["base64"] = base64.b64encode(record.data).decode()
    return message
