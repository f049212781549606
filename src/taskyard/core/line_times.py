"""The time before every line of an output."""

from typing import Final

UNKNOWN: Final = "-"
"""In place of a time that is not known."""


class LineTimes:
    """Puts before each line of streams that come in pieces when it began."""

    def __init__(self) -> None:
        self._inside: set[str] = set()
        """Streams that are in the middle of a line."""

    def stamped(self, stream: str, at: str | None, data: bytes) -> bytes:
        """The next bytes of a stream, all of one time, with that before each line begun in them."""
        if not data:
            return b""
        stamp = (UNKNOWN if at is None else at).encode() + b" "
        is_open = not data.endswith(b"\n")
        body = data if is_open else data[:-1]
        lines = body.replace(b"\n", b"\n" + stamp)
        begun = b"" if stream in self._inside else stamp
        if is_open:
            self._inside.add(stream)
        else:
            self._inside.discard(stream)
        return begun + lines + (b"" if is_open else b"\n")
