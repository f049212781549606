"""Pipes that work writes its output to. Standard library only.

The file that a pipe's bytes end up in is out of the work's reach: ``> /dev/stdout`` opens the pipe
again, which has nothing to truncate.
"""

import array
import contextlib
import errno
import fcntl
import os
import termios
from collections.abc import Iterable
from typing import Final

_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
_BOTH: Final = os.O_RDWR | os.O_CLOEXEC


class OutputPipe:
    """Our ends of one pipe.

    We hold a writing end as well, so that nothing happens here when the work's last one is closed:
    who waits for the pipe is woken by output alone.
    """

    __slots__ = ("_writing", "reading")

    def __init__(self, reading: int, writing: int) -> None:
        self.reading = reading
        """Does not block."""
        self._writing = writing

    @classmethod
    def new(cls) -> "OutputPipe":
        """Make a pipe. Raises ``OSError``."""
        return cls(*os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))

    @classmethod
    def found(cls, name: str, pids: Iterable[int]) -> "OutputPipe | None":
        """Open a pipe that another supervisor made, through a process that has it open.

        None if none of these has, or may be looked at.
        """
        for pid in pids:
            with contextlib.suppress(OSError):
                for number in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):  # noqa: PTH208 - no pathlib here
                    path = f"/proc/{pid}/fd/{number}"
                    if os.readlink(path) == name:  # noqa: PTH115 - no pathlib here
                        return cls._opened(path)
        return None

    @classmethod
    def _opened(cls, path: str) -> "OutputPipe":
        reading = os.open(path, _READ)
        try:
            return cls(reading, os.open(path, _WRITE))
        except OSError:
            os.close(reading)
            raise

    @property
    def name(self) -> str:
        """What a link to it in ``/proc`` reads, such as ``pipe:[123]``."""
        return f"pipe:[{os.fstat(self.reading).st_ino}]"

    def work_end(self, owner: tuple[int, int] | None, *, outlives_us: bool) -> int:
        """A descriptor for the work, to be closed by the caller. Raises ``OSError``.

        Args:
            owner: user and group of the work, which may open it again; None for our own.
            outlives_us: lets the work wait for the next reader, instead of dying of ``SIGPIPE``,
                when this process is gone.
        """
        path = f"/proc/self/fd/{self._writing}"
        fd = os.open(path, _BOTH if outlives_us else os.O_WRONLY | os.O_CLOEXEC)
        if owner is not None:
            try:
                os.fchown(fd, *owner)
            except OSError:
                os.close(fd)
                raise
        return fd

    def waiting_bytes(self) -> int:
        """How much is in it. Raises ``OSError``."""
        count = array.array("i", [0])
        fcntl.ioctl(self.reading, termios.FIONREAD, count)
        return count[0]

    def read(self, most: int) -> bytes:
        """Up to so many bytes; none if there are none now. Raises ``OSError``."""
        try:
            return os.read(self.reading, most)
        except BlockingIOError:
            return b""

    def move(self, file: int, most: int) -> int | None:
        """Move up to so many bytes to the place where a file is open; how many.

        What the file does not take stays in the pipe. None if this file cannot be written to in
        this way. Raises ``OSError``.
        """
        try:
            return os.splice(self.reading, file, most, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise

    def close(self) -> None:
        """Let go of it; whoever still writes meets a broken pipe, or a full one."""
        os.close(self.reading)
        os.close(self._writing)
