"""Taking apart what engines send of a container's output.

Both attachments and logs come as frames: the number of the stream (1, 2), three zeros, a length of
four bytes, and so many bytes of it.

Frames of the *log* of Docker Engine are lines, or blocks of 16 KiB of longer lines, and its
``local`` driver (the only one that keeps every byte value) leaves out the line feed behind the last
block of such a line. :class:`LogFrames` puts it back: a frame that neither ends in a line feed nor
fills its block can only be the end of a line if another frame follows.
Source: ``daemon/logger/copier.go`` and ``daemon/logger/local`` of Docker Engine 20.10.
"""

import struct
from collections.abc import Iterator
from typing import Final

STDOUT: Final = 1
STDERR: Final = 2
_HEADER: Final = struct.Struct(">BxxxL")
_BLOCK: Final = 16384


class Frames:
    """Turns bytes as they arrive into pieces of the two streams."""

    def __init__(self) -> None:
        self._stream = 0
        self._left = 0
        self._head = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The pieces in ``data``, each with the number of its stream; holds back 7 bytes at most.
        Frames of one stream that follow one another are one piece.

        Raises ``ValueError`` for what is no frame.
        """
        if self._head:
            data = self._head + data
            self._head = b""
        parts: list[bytes] = []
        position, end = 0, len(data)
        while position < end:
            if self._left == 0:
                if end - position < _HEADER.size:
                    self._head = data[position:]
                    break
                stream, self._left = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                if stream != self._stream:
                    if parts:
                        yield self._stream, b"".join(parts)
                        parts = []
                    if stream > 3:
                        raise ValueError(f"the engine sent a frame of stream {stream}")
                    self._stream = stream
                parts.append(self.before(stream, self._left))
                continue
            piece = data[position : position + self._left]
            position += len(piece)
            self._left -= len(piece)
            self.passed(self._stream, piece)
            parts.append(piece)
        if parts and (joined := b"".join(parts)):
            yield self._stream, joined

    def before(self, stream: int, size: int) -> bytes:
        """A frame begins; what has to go before it."""
        del stream, size
        return b""

    def passed(self, stream: int, data: bytes) -> None:
        """Part of a frame has passed."""

    @property
    def is_whole(self) -> bool:
        """Whether the last frame was complete."""
        return self._left == 0 and not self._head


class LogFrames(Frames):
    """The same for the log of Docker Engine, with its missing line feeds put back."""

    def __init__(self) -> None:
        super().__init__()
        self._size: dict[int, int] = {}
        self._last: dict[int, bytes] = {}

    def before(self, stream: int, size: int) -> bytes:
        """Put the line feed of the line before, if it has none and was at its end."""
        before = self._size.get(stream)
        lacks = before is not None and before != _BLOCK and self._last.get(stream) != b"\n"
        self._size[stream] = size
        self._last[stream] = b""
        return b"\n" if lacks else b""

    def passed(self, stream: int, data: bytes) -> None:
        """Remember how it ends."""
        self._last[stream] = data[-1:]
