"""The files that the output of one attempt is kept in, within its limit. Standard library only.

``stdout``, ``stderr`` and ``order`` belong to this process and to nobody else; they are made with
the first byte that goes into them.
"""

import contextlib
import os
from typing import Final

from taskyard.runtimes.output import disk_space, meta
from taskyard.runtimes.output.order import OrderWriter
from taskyard.runtimes.output.pipes import OutputPipe

STREAMS: Final = ("stdout", "stderr")
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_LOOK_BYTES: Final = 1 << 20
"""After so much more the disk is looked at, whenever that was done last."""


class OutputFiles:
    """Takes what arrives, in the order in which it does."""

    __slots__ = (
        *("_directory", "_dropped", "_fds", "_limit", "_null", "_order", "_sizes", "_told"),
        "_unseen",
    )

    def __init__(self, directory: str, limit_bytes: int, null: int = -1) -> None:
        """Begin files; ``null`` is an open ``/dev/null``, needed where pipes are moved from."""
        self._directory = directory
        self._limit = limit_bytes
        self._null = null
        self._fds = [-1, -1]
        self._sizes = [0, 0]
        self._dropped = [0, 0]
        self._told = (0, 0)
        """What readers know to be dropped."""
        self._order = OrderWriter(directory)
        self._unseen = 0

    def resume(self, dropped: tuple[int, int]) -> None:
        """Go on behind what is in the files; so much was dropped before."""
        self._told = dropped
        self._dropped = list(dropped)
        for index, stream in enumerate(STREAMS):
            with contextlib.suppress(OSError):
                path = f"{self._directory}/{stream}"
                self._sizes[index] = os.stat(path).st_size  # noqa: PTH116 - no pathlib here
        self._order.resume((self._sizes[0], self._sizes[1]))

    def move(self, index: int, pipe: OutputPipe, most: int) -> int:
        """Take up to so many bytes of a stream from a pipe; 0 if there are none.

        Raises ``OSError`` if they cannot be kept: then they are still in the pipe.
        """
        before = self._sizes[index]
        moved = self.move_unnoted(index, pipe, most)
        self.note(index, self._sizes[index] - before)
        return moved

    def move_unnoted(self, index: int, pipe: OutputPipe, most: int) -> int:
        """The same; where in the order what is kept belongs is told by :meth:`note`, soon."""
        room = self._limit - self._sizes[index]
        if room <= 0:
            return self.drop(index, pipe, most)
        most = min(most, room)
        moved = pipe.move(self._file(index), most)
        if moved is None:
            return self._copy(index, pipe, most)
        self._sizes[index] += moved
        self._look_after(moved)
        return moved

    def note(self, index: int, count: int) -> None:
        """The next so many bytes of a stream come next in the order."""
        self._order.add(index + 1, count)

    @property
    def is_order_coarse(self) -> bool:
        """Whether the order within a moment is not kept any more, because there is so much."""
        return self._order.is_coarse

    def kept(self, index: int) -> int:
        """How many bytes of a stream are in its file."""
        return self._sizes[index]

    def last(self, index: int, count: int) -> bytes:
        """The last so many bytes in the file of a stream. Raises ``OSError``."""
        return os.pread(self._file(index), count, self._sizes[index] - count) if count else b""

    def _copy(self, index: int, pipe: OutputPipe, most: int) -> int:
        """The same for a file system that does not support moving.

        What it does not take cannot go back into the pipe, and counts as dropped.
        """
        data = pipe.read(most)
        self._write(index, data)
        return len(data)

    def write(self, index: int, data: bytes) -> None:
        """Take the next bytes of a stream. Raises ``OSError``; the rest counts as dropped then."""
        before = self._sizes[index]
        try:
            self._write(index, data)
        finally:
            self.note(index, self._sizes[index] - before)

    def _write(self, index: int, data: bytes) -> None:
        kept = memoryview(data)[: max(0, self._limit - self._sizes[index])]
        done = 0
        try:
            while done < len(kept):
                done += os.write(self._file(index), kept[done:])
        finally:
            self._sizes[index] += done
            self._dropped[index] += len(data) - done
        self._look_after(done)

    @property
    def flush_in_s(self) -> float | None:
        """When to call :meth:`flush`, after something was taken; None if there is no need."""
        return self._order.due_in_s

    def flush(self) -> None:
        """Write what waits to be in the index."""
        self._order.flush()

    def drop(self, index: int, pipe: OutputPipe, most: int) -> int:
        """Take up to so many bytes from a pipe and count them only."""
        moved = pipe.move(self._null, most) or 0
        if moved and not self._sizes[index]:
            # What says how much is missing has to stand somewhere.
            with contextlib.suppress(OSError):
                self._file(index)
        self._dropped[index] += moved
        return moved

    def _look_after(self, count: int) -> None:
        self._unseen += count
        if self._unseen > _LOOK_BYTES:
            self.look()

    def look(self) -> bool:
        """Tell readers what was dropped; and where the disk is nearly full, let the limit be what
        there is now, and a little.

        Answers whether that is so, or may soon be. Raises ``OSError``.
        """
        self._unseen = 0
        room = disk_space.room(self._directory)
        limit = self._limit
        if room < 1:
            limit = disk_space.cut_at(limit, max(self._sizes))
        dropped = (self._dropped[0], self._dropped[1])
        if limit < self._limit or dropped != self._told:
            # Readers are told first.
            meta.write_meta(self._directory, limit, dropped)
            self._limit, self._told = limit, dropped
        return room < disk_space.NEAR

    def sizes(self) -> dict[str, dict[str, int]]:
        """``{stream: {"stored_bytes", "dropped_bytes"}}``."""
        return {
            stream: {"stored_bytes": self._sizes[index], "dropped_bytes": self._dropped[index]}
            for index, stream in enumerate(STREAMS)
        }

    def _file(self, index: int) -> int:
        fd = self._fds[index]
        if fd < 0:
            self._order.open()
            path = f"{self._directory}/{STREAMS[index]}"
            fd = self._fds[index] = os.open(path, _FLAGS, 0o600)
            if self._sizes[index]:
                os.lseek(fd, self._sizes[index], os.SEEK_SET)
        return fd

    def close(self) -> None:
        """Close the files; may be called twice."""
        for index, fd in enumerate(self._fds):
            if fd >= 0:
                os.close(fd)
                self._fds[index] = -1
        self._order.close()
