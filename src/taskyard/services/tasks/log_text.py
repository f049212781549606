"""Output as messages: text wherever the bytes are text, base64 where they are not."""

from base64 import b64encode
from typing import Final

from msgspec import Struct

from taskyard.core.instants import rfc3339
from taskyard.ports.logs import Stream
from taskyard.services.tasks.followed import Output

_MOST_PARTS: Final = 16
"""Bytes that change more often between text and not are sent as base64 from there on."""


class OutputMessage(Struct, frozen=True, tag="output", omit_defaults=True):
    """The ``output`` message of the API; has either ``text`` or ``base64``."""

    attempt: int
    stream: Stream
    offset: int
    next_offset: int
    """Where to go on after this message: the offset to reconnect at."""
    text: str | None = None
    base64: str | None = None
    at: str | None = None
    """When it was written, if that was asked for and is known."""


class LogText:
    """Turns the output of one follower into messages that never cut a character in two.

    Up to three bytes of each stream that begin a character are held back until the rest comes.
    """

    def __init__(self) -> None:
        self._held: dict[Stream, Output] = {}

    def feed(self, output: Output) -> list[OutputMessage]:
        """Messages for what came; possibly none."""
        held = self._held.pop(output.stream, None)
        offset, data = output.offset, output.data
        if held is not None:
            offset, data = held.offset, held.data + data
        cut = len(data) - unfinished(data)
        if cut < len(data):
            self._held[output.stream] = Output(
                output.stream, offset + cut, data[cut:], output.attempt, output.at
            )
        return _messages(output, offset, data[:cut])

    def flush(self) -> list[OutputMessage]:
        """Messages for what is held back, at the end of the output."""
        held, self._held = self._held, {}
        return [
            message
            for output in held.values()
            for message in _messages(output, output.offset, output.data)
        ]


def unfinished(data: bytes) -> int:
    """How many bytes at the end, 0 to 3, begin a UTF-8 character that is not complete."""
    for length in range(1, min(3, len(data)) + 1):
        if data[-length] & 0xC0 == 0x80:
            continue
        try:
            data[-length:].decode()
        except UnicodeDecodeError as error:
            return length if error.reason == "unexpected end of data" else 0
        return 0
    return 0


def _messages(output: Output, offset: int, data: bytes) -> list[OutputMessage]:
    messages: list[OutputMessage] = []
    at = None if output.at is None else rfc3339(output.at)
    for text, part in _parts(data):
        messages.append(
            OutputMessage(
                output.attempt,
                output.stream,
                offset,
                offset + len(part),
                text=text,
                base64=b64encode(part).decode() if text is None else None,
                at=at,
            )
        )
        offset += len(part)
    return messages


def _parts(data: bytes) -> list[tuple[str | None, bytes]]:
    parts: list[tuple[str | None, bytes]] = []
    raw = 0
    """Bytes at the front that are no text."""
    for _ in range(_MOST_PARTS):
        try:
            text = data[raw:].decode()
        except UnicodeDecodeError as error:
            begin, end = raw + error.start, raw + error.end
            if error.start:
                if raw:
                    parts.append((None, data[:raw]))
                parts.append((data[raw:begin].decode(), data[raw:begin]))
                data, raw = data[begin:], end - begin
            else:
                raw = end
            continue
        if raw:
            parts.append((None, data[:raw]))
        if text:
            parts.append((text, data[raw:]))
        return parts
    parts.append((None, data))
    return parts
