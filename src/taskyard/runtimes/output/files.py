"""Keeping the output of a running command within its limit without standing in its way."""

import contextlib
import errno
import os
from typing import Final

from taskyard.runtimes.output import disk_space, meta
from taskyard.runtimes.processes.linux import punch_hole

STREAMS: Final = ("stdout", "stderr")
_BLOCK: Final = 4096


class Output:
    """The two output files of one attempt.

    The command writes straight into them, so nothing can stop it at the limit. Instead the disk
    blocks of what is beyond the limit are given back now and then, and at the end the files are
    cut to the limit.
    """

    __slots__ = ("_cut", "_directory", "_limit", "_punched")

    def __init__(self, directory: str, limit_bytes: int) -> None:
        self._directory = directory
        self._limit = limit_bytes
        self._punched: dict[str, int] = {}
        self._cut: dict[str, int] = {}

    def free_surplus(self) -> bool:
        """Give back the blocks of everything beyond the limit so far.

        Where the disk is nearly full, the limit becomes what there is now, and a little; answers
        whether that is so, or may soon be. Raises ``OSError``.
        """
        room = disk_space.room(self._directory)
        if room < 1:
            self._tighten()
        for stream in STREAMS:
            path = f"{self._directory}/{stream}"
            size = _size(path)
            if size > self._limit and size != self._punched.get(stream):
                self._free(path, stream, size)
        return room < disk_space.NEAR

    def _tighten(self) -> None:
        """Keep little more than there is. Readers are told before anything goes."""
        kept = max(min(_size(f"{self._directory}/{stream}"), self._limit) for stream in STREAMS)
        limit = disk_space.cut_at(self._limit, kept)
        if limit < self._limit:
            meta.write_meta(self._directory, limit)
            self._limit = limit
            self._punched.clear()

    def finish(self) -> dict[str, dict[str, int]]:
        """Cut both files to the limit: ``{stream: {"stored_bytes", "dropped_bytes"}}``."""
        sizes = {}
        for stream in STREAMS:
            path = f"{self._directory}/{stream}"
            size = _size(path)
            dropped = self._cut.get(stream, 0)
            if size > self._limit:
                with contextlib.suppress(OSError):
                    # Readers stop at the limit all the same.
                    os.truncate(path, self._limit)
                dropped += size - self._limit
            sizes[stream] = {"stored_bytes": min(size, self._limit), "dropped_bytes": dropped}
        return sizes

    def _free(self, path: str, stream: str, size: int) -> None:
        start = -(-self._limit // _BLOCK) * _BLOCK
        if size <= start:
            return
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            punch_hole(fd, start, size - start)
            self._punched[stream] = size
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}:
                raise
            # Every byte that arrives between the look at the size and the cut is lost uncounted;
            # file systems with holes, which is nearly all, do not come here.
            os.ftruncate(fd, self._limit)
            self._cut[stream] = self._cut.get(stream, 0) + size - self._limit
        finally:
            os.close(fd)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - no pathlib in the supervisor
    except OSError:
        return 0
