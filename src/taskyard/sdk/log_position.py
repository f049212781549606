"""The position of a follower of logs, from which it goes on after an interruption. No I/O."""

import base64
import binascii
from datetime import datetime
from typing import Literal
from urllib.parse import quote

import msgspec

from taskyard.sdk.client_models import Gap, Output
from taskyard.sdk.errors import Unreadable
from taskyard.sdk.models import Change, Exit
from taskyard.sdk.requests import BASE
from taskyard.sdk.sse import ServerSentEvent


class _Output(msgspec.Struct, frozen=True):
    attempt: int
    stream: Literal["stdout", "stderr"]
    offset: int
    text: str | None = None
    base64: str | None = None
    at: datetime | None = None


_output = msgspec.json.Decoder(_Output)
_exit = msgspec.json.Decoder(Exit)
_change = msgspec.json.Decoder(Change)
_gap = msgspec.json.Decoder(Gap)


class Discontinuity(Exception):
    """The server skipped bytes; the follower has to ask again from where it stands."""


class LogPosition:
    """The position of one follower: attempt and offsets, moved by every record it takes."""

    def __init__(
        self,
        task_id: str,
        attempt: int | None,
        stdout: int,
        stderr: int,
        *,
        wait: bool = True,
        timestamps: bool = False,
    ) -> None:
        """See ``follow`` of the clients."""
        self.task_id = task_id
        self.attempt = attempt
        """None until the server has named one."""
        self.offsets = {"stdout": stdout, "stderr": stderr}
        self.done = False
        """Whether there is nothing more to come: the exit record has been seen, or the present end
        was reached and is not to be waited at."""
        self._options = [("wait", "false")] if not wait else []
        if timestamps:
            self._options.append(("timestamps", "true"))

    @property
    def path(self) -> str:
        """Path to ask."""
        return f"{BASE}/tasks/{quote(self.task_id, safe='')}/logs/follow"

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Query that goes on at this position."""
        pairs = [(name, str(offset)) for name, offset in self.offsets.items()]
        if self.attempt is not None:
            pairs.append(("attempt", str(self.attempt)))
        return pairs + self._options

    def take(self, event: ServerSentEvent) -> Output | Exit | None:
        """The record of a message; None for pings and for bytes that were seen before.

        Raises :class:`Discontinuity`, or :class:`Unreadable` for what breaks the contract.
        """
        try:
            if event.event == "output":
                return self._output(_output.decode(event.data))
            if event.event == "exit":
                record = _exit.decode(event.data)
                self.attempt = record.attempt
                self.done = True
                return record
            if event.event == "caught_up":
                self.done = True
        except (msgspec.DecodeError, binascii.Error) as error:
            raise Unreadable(f"a log message is not what the API promises: {error}") from error
        return None

    def _output(self, message: _Output) -> Output | None:
        if message.text is not None:
            data = message.text.encode()
        else:
            data = base64.b64decode(message.base64 or "", validate=True)
        self.attempt = message.attempt
        expected = self.offsets[message.stream]
        if message.offset > expected:
            raise Discontinuity(f"{message.stream} jumps from {expected} to {message.offset}")
        data = data[expected - message.offset :]
        if not data:
            return None
        self.offsets[message.stream] = expected + len(data)
        return Output(message.attempt, message.stream, expected, data, message.at)


def change(event: ServerSentEvent) -> Change | Gap | None:
    """The record of a message of the live changes; None for pings and unknown kinds."""
    try:
        if event.event == "change":
            return _change.decode(event.data)
        if event.event == "gap":
            return _gap.decode(event.data)
    except msgspec.DecodeError as error:
        raise Unreadable(f"a change is not what the API promises: {error}") from error
    return None
