"""The output of a task as a stream of messages that can be resumed."""

import re
from typing import Final

import msgspec

from taskyard.core.access.principals import Caller
from taskyard.core.ids import TaskId
from taskyard.dialects.native.errors import malformed
from taskyard.dialects.native.streaming import Message, Source
from taskyard.ports.logs import Stream
from taskyard.services.tasks.follow import CaughtUp, Exit, Follow, Ping
from taskyard.services.tasks.log_text import LogText, OutputMessage

_RESUME: Final = re.compile(rb"([0-9]{1,9}):(-1|[0-9]{1,15}):(-1|[0-9]{1,15})\Z")
_ENCODER: Final = msgspec.json.Encoder()


def resume_point(last_event_id: bytes) -> tuple[int | None, int, int]:
    """Attempt and both offsets of a ``Last-Event-ID``. Raises ``ProblemError`` (400)."""
    match = _RESUME.match(last_event_id.strip())
    if match is None:
        raise malformed("Last-Event-ID was not made for this stream")
    return int(match[1]) or None, int(match[2]), int(match[3])


async def follow_source(
    follow: Follow,
    caller: Caller,
    task_id: TaskId,
    attempt: int | None,
    stdout: int,
    stderr: int,
    *,
    wait: bool = True,
    timed: bool = False,
) -> Source:
    """Messages from these offsets on, up to and including the exit record.

    Without ``wait`` they end at the present end; with ``timed``, output comes with its times.
    """
    # What was delivered, not what was read: a character cut in two is held back, and a reader
    # that resumes has to see all of it.
    positions = {Stream.STDOUT: stdout, Stream.STDERR: stderr}
    text = LogText()

    def output(message: OutputMessage) -> Message:
        positions[message.stream] = message.next_offset
        return Message("output", _ENCODER.encode(message), _id(message.attempt, positions))

    items = follow.follow(caller, task_id, attempt, stdout, stderr, wait=wait, timed=timed)
    async for item in items:
        if isinstance(item, Ping):
            yield None
        elif isinstance(item, Exit):
            for message in text.flush():
                yield output(message)
            yield Message("exit", _ENCODER.encode(item), _id(item.attempt, positions))
        elif isinstance(item, CaughtUp):
            for message in text.flush():
                yield output(message)
            yield Message("caught_up", _ENCODER.encode(item), _id(item.attempt, positions))
        else:
            for message in text.feed(item):
                yield output(message)


def _id(attempt: int, positions: dict[Stream, int]) -> str:
    return f"{attempt}:{positions[Stream.STDOUT]}:{positions[Stream.STDERR]}"
