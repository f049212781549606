"""Files that the work itself writes or may have replaced, opened and read without trusting them."""

import errno
import os
import stat
from typing import Final

# NOFOLLOW and NONBLOCK: whatever the work may have put in the place of its output, no link is
# followed out of the directory, and no pipe waited for.
OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", None)
_SMALL_BYTES: Final = 65536


def length_of(path: str) -> int | None:
    """Length of a regular file; None if there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - a third of Path's cost
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def modified_ns(path: str) -> int:
    """When a file was written last, in nanoseconds; -1 if there is none."""
    try:
        return os.stat(path, follow_symlinks=False).st_mtime_ns  # noqa: PTH116 - as above
    except (FileNotFoundError, NotADirectoryError):
        return -1


def content_of(path: str) -> bytes | None:
    """The beginning of a small file; None if there is none."""
    try:
        descriptor = os.open(path, OPEN)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.read(descriptor, _SMALL_BYTES)
    finally:
        os.close(descriptor)


def leads_to(path: str, status: os.stat_result) -> bool:
    """Whether a path still leads to the file with this status."""
    try:
        now = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - a third of Path's cost
    except FileNotFoundError:
        return False
    return (now.st_ino, now.st_dev) == (status.st_ino, status.st_dev)


def read_bytes(descriptor: int, offset: int, length: int, *, patient: bool) -> bytes:
    """Bytes of an open file; raises ``BlockingIOError`` unless ``patient`` where it would wait."""
    if patient:
        parts: list[bytes] = []
        while length > 0 and (part := os.pread(descriptor, length, offset)):
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    if _NOWAIT is None:
        raise BlockingIOError(errno.EAGAIN, "this system cannot tell whether it would wait")
    buffer = bytearray(length)
    try:
        count = os.preadv(descriptor, [buffer], offset, _NOWAIT)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
            raise BlockingIOError(errno.EAGAIN, "not in memory") from error
        raise
    if count < length:
        raise BlockingIOError(errno.EAGAIN, "not all in memory")
    return bytes(buffer)
