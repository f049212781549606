"""Writing the index of the order in which an attempt's output came. Standard library only.

For the file see :mod:`taskyard.core.output_index`.
"""

import os
import time
from typing import Final

from taskyard.core import output_index

_STEP: Final = output_index.MAX_RECORDS // 8
_TOGETHER_S: Final = 0.001
"""What one stream brings within this time, and no other stream in between, is one record."""
_READY_BYTES: Final = 4096
"""Records are written at once when there are more."""
_LONGEST: Final = 64
"""So many times that at most: it is twice as long after each eighth of the index, which so lasts
for hours of ceaseless output."""


class OrderWriter:
    """Appends records, which wait a moment for what belongs to them.

    The first eighth of the index is exact. Later ones have one record of each stream for so long
    as pieces are put together: alternating without end would fill it within a second otherwise.
    Once a record cannot be written there are no more, as positions would be wrong.
    """

    __slots__ = (
        *("_at_us", "_count", "_directory", "_fd", "_is_over", "_other_bytes", "_ready"),
        *("_size_bytes", "_stream"),
    )

    def __init__(self, directory: str) -> None:
        """Begin an index; its file is made by :meth:`open`."""
        self._directory = directory
        self._fd = -1
        self._count = 0
        self._is_over = False
        self._stream = 0
        self._at_us = 0
        self._size_bytes = 0
        self._other_bytes = 0
        """Of the other stream, behind it: only where the index is coarse."""
        self._ready = b""
        """Records to be written with the next flush."""

    @property
    def is_coarse(self) -> bool:
        """Whether the order within a moment does not matter any more."""
        return self._count >= _STEP

    def open(self) -> None:
        """Make the file, before anything is written that belongs into it; once is enough."""
        if self._fd < 0 and not self._is_over:
            path = f"{self._directory}/{output_index.FILE}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                self._fd = os.open(path, flags, 0o600)
            except OSError:
                self._is_over = True

    @property
    def due_in_s(self) -> float | None:
        """When a record that has just begun to wait is to be flushed; None if none waits."""
        return self._together_s() if self._size_bytes or self._ready else None

    def _together_s(self) -> float:
        return _TOGETHER_S * min(_LONGEST, 1 << (self._count // _STEP))

    def add(self, stream: int, size_bytes: int) -> None:
        """So much of a stream was written to its file just now."""
        if self._is_over or size_bytes <= 0:
            return
        now_us = time.time_ns() // 1000
        if self._size_bytes:
            if 0 <= now_us - self._at_us < self._together_s() * 1e6:
                if stream == self._stream and not self._other_bytes:
                    self._size_bytes += size_bytes
                    return
                if self.is_coarse:
                    if stream == self._stream:
                        self._size_bytes += size_bytes
                    else:
                        self._other_bytes += size_bytes
                    return
            self._end_record()
        self._stream, self._at_us, self._size_bytes = stream, now_us, size_bytes

    def _end_record(self) -> None:
        other = output_index.STDOUT + output_index.STDERR - self._stream
        records = output_index.encode(self._at_us, self._size_bytes, self._stream)
        records += output_index.encode(self._at_us, self._other_bytes, other)
        self._size_bytes = self._other_bytes = 0
        self._count += len(records) // output_index.RECORD_BYTES
        self._ready += records
        if len(self._ready) > _READY_BYTES:
            self._write()

    def flush(self) -> None:
        """Write the records that wait."""
        if self._size_bytes:
            self._end_record()
        if self._ready:
            self._write()

    def _write(self) -> None:
        records, self._ready = self._ready, b""
        if self._is_over:
            return
        self.open()
        try:
            is_full = self._count > output_index.MAX_RECORDS
            self._is_over = is_full or os.write(self._fd, records) != len(records)
        except OSError:
            self._is_over = True

    def resume(self, sizes: tuple[int, int]) -> None:
        """Go on with what another process began; what it has not noted is noted now.

        ``sizes`` are those of both files.
        """
        path = f"{self._directory}/{output_index.FILE}"
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - no pathlib in the supervisor
                content = file.read(output_index.MAX_BYTES)
            torn = len(content) % output_index.RECORD_BYTES
            if torn:
                os.truncate(path, len(content) - torn)
        except FileNotFoundError:
            content = b""
        except OSError:
            self._is_over = True
            return
        self._count = len(content) // output_index.RECORD_BYTES
        noted = output_index.covered(content)
        for stream in (output_index.STDOUT, output_index.STDERR):
            self.add(stream, sizes[stream - 1] - noted[stream - 1])

    def close(self) -> None:
        """Write what waits and close the file; may be called twice."""
        self.flush()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
