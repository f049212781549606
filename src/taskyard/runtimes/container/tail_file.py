"""The end of a stream that is longer than its file may be: the newest bytes, in two files.

The newer one is filled up and then takes the place of the older one, so that between one half of
what was asked for and all of it is there at any time, and nothing is ever written twice.
"""

import os
from pathlib import Path
from typing import Final

_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_TRUNC


class TailFile:
    """Keeps the last bytes of one stream in ``NAME.older`` and ``NAME.newer``."""

    def __init__(self, directory: Path, name: str, limit_bytes: int) -> None:
        """Prepare, without touching the disk. ``limit_bytes`` are for both files together."""
        self._older = f"{directory}/{name}.older"
        self._newer = f"{directory}/{name}.newer"
        self._half = max(1, limit_bytes // 2)
        self._fd: int | None = None
        self._size = 0

    def clear(self) -> None:
        """Remove what an earlier process left: all of it will be offered again."""
        for path in (self._older, self._newer):
            Path(path).unlink(missing_ok=True)

    def take(self, data: bytes) -> None:
        """The next bytes. Raises ``OSError``, such as for a full disk."""
        view = memoryview(data)
        if len(view) > 2 * self._half:
            view = view[-2 * self._half :]
        while view:
            if self._fd is None:
                self._fd = os.open(self._newer, _FLAGS, _MODE)
                self._size = 0
            written = os.write(self._fd, view[: self._half - self._size])
            view = view[written:]
            self._size += written
            if self._size >= self._half and view:
                self.close()
                os.replace(self._newer, self._older)  # noqa: PTH105 - as fast as can be

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
