"""The output files of one attempt, written by this process for once."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from taskyard.core import output_index
from taskyard.core.attempts import StreamSize
from taskyard.runtimes.container.tail_file import TailFile
from taskyard.runtimes.engine.frames import STDERR, STDOUT
from taskyard.runtimes.output import disk_space, meta
from taskyard.runtimes.output.order import OrderWriter

META: Final = "meta.json"
_NAMES: Final = {STDOUT: "stdout", STDERR: "stderr"}
_MODE: Final = 0o600
_LOOK_EVERY_BYTES: Final = 64 << 10
"""How much may come between two looks at the disk's room."""
# NOFOLLOW: the directory is ours alone, but what an earlier attempt left may be anything.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class Output:
    """Appends to ``stdout`` and ``stderr`` up to the limit, and counts what is beyond.

    In what order it came goes to ``order``: engines tell of both streams in one.

    Positions count the container's own bytes of a stream from its first. Whatever is offered that
    lies before what the files hold is passed over, so that a log can be read again from its
    beginning any number of times.

    Writes go to the page cache, at once; they wait for no disk.
    """

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        *,
        merge: bool = False,
        keep_last_bytes: int = 0,
        also: Callable[[int, int, bytes], None] | None = None,
    ) -> None:
        """Prepare, without touching the disk. With ``merge``, all of it goes to ``stdout``.

        Of what is beyond the limit, about ``keep_last_bytes`` of the end are kept as well.
        ``also`` is given whatever is offered, kept or not: its stream, where in it, and the bytes.
        """
        self._merge = merge
        self._also = also
        self._endings: dict[int, TailFile] = {}
        if keep_last_bytes:
            self._endings = {
                stream: TailFile(directory, name, keep_last_bytes)
                for stream, name in _NAMES.items()
            }
        self._directory = directory
        self._limit = limit_bytes
        self._unlooked = 0
        self._fds: dict[int, int] = {}
        self._order = OrderWriter(str(directory))
        self._flushing: asyncio.TimerHandle | None = None
        self._prefix: dict[int, int] = {STDOUT: 0, STDERR: 0}
        self._seen: dict[int, int] = {STDOUT: 0, STDERR: 0}
        self._at: dict[int, int] = {STDOUT: 0, STDERR: 0}

    def begin(self) -> None:
        """Make empty files, and say what the limit is. Raises ``OSError``."""
        meta = self._directory / META
        meta.write_text(f'{{"log_limit_bytes": {self._limit}}}', encoding="ascii")
        for stream, name in _NAMES.items():
            self._fds[stream] = os.open(f"{self._directory}/{name}", _FLAGS | os.O_TRUNC, _MODE)
        (self._directory / output_index.FILE).unlink(missing_ok=True)
        self._order.open()

    def resume(self, stderr_prefix_bytes: int) -> None:
        """Go on behind what the files hold. Raises ``OSError``.

        ``stderr_prefix_bytes`` were said before the container began.
        """
        for ending in self._endings.values():
            ending.clear()
        path = self._directory / META
        if not path.exists():
            path.write_text(f'{{"log_limit_bytes": {self._limit}}}', encoding="ascii")
        # It is lower than it was asked for where the disk was nearly full before.
        self._limit = meta.read_meta(str(self._directory), self._limit)[0]
        self._prefix[STDERR] = stderr_prefix_bytes
        for stream, name in _NAMES.items():
            fd = self._fds[stream] = os.open(f"{self._directory}/{name}", _FLAGS, _MODE)
            if self._merge:
                # Which bytes were whose nobody knows any more: the log brings all of them again.
                if stream == STDOUT:
                    os.ftruncate(fd, min(os.fstat(fd).st_size, stderr_prefix_bytes))
                continue
            self._seen[stream] = max(0, os.fstat(fd).st_size - self._prefix[stream])
        if self._merge:
            (self._directory / output_index.FILE).unlink(missing_ok=True)
        sizes = [os.fstat(self._fds[stream]).st_size for stream in (STDOUT, STDERR)]
        self._order.resume((sizes[0], sizes[1]))
        self._order.open()

    def remark(self, text: str) -> None:
        """Add a line of our own to ``stderr``, before the container begins. Raises ``OSError``."""
        line = text.encode(errors="replace") + b"\n"
        before = self._prefix[STDERR]
        self._append(STDERR, line[: max(0, self._limit - before)])
        self._prefix[STDERR] = before + len(line)

    @property
    def stderr_prefix_bytes(self) -> int:
        """Bytes of the remarks."""
        return self._prefix[STDERR]

    def flush_soon(self) -> None:
        """After what came together: let the order be known in a moment. For an event loop."""
        due_in_s = self._order.due_in_s
        if due_in_s is not None and self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(due_in_s, self.flush)

    def flush(self) -> None:
        """Let the order of all that came be known now."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._order.flush()

    def rewind(self) -> None:
        """What comes next is the container's output from its first byte again."""
        self._at = {STDOUT: 0, STDERR: 0}

    def follow_on(self) -> None:
        """What comes next follows on what the files hold."""
        self._at = dict(self._seen)

    @property
    def taken_bytes(self) -> int:
        """Bytes of the container that were seen so far, kept or not."""
        return sum(self._seen.values())

    def take(self, stream: int, data: bytes) -> None:
        """The next bytes of a stream. Raises ``OSError``, such as for a full disk."""
        stream = STDERR if stream == STDERR else STDOUT
        at = self._at[stream]
        self._at[stream] = after = at + len(data)
        if self._also is not None:
            self._also(stream, at, data)
        known = self._seen[stream]
        if after <= known:
            return
        new = data[known - at :] if known > at else data
        taken = self._prefix[stream] + known
        if self._merge:
            taken = sum(self._prefix.values()) + sum(self._seen.values())
        self._tighten(len(new))
        room = self._limit - taken
        if room > 0:
            self._append(stream, new[:room] if len(new) > room else new)
        if self._endings and len(new) > room:
            self._endings[STDOUT if self._merge else stream].take(new[max(0, room) :])
        self._seen[stream] = after

    def _tighten(self, more_bytes: int) -> None:
        """Where the disk is nearly full, keep little more than there is. Raises ``OSError``."""
        self._unlooked += more_bytes
        if self._unlooked < _LOOK_EVERY_BYTES:
            return
        self._unlooked = 0
        if disk_space.room(str(self._directory)) >= 1:
            return
        kept = [min(self._prefix[one] + self._seen[one], self._limit) for one in _NAMES]
        limit = disk_space.cut_at(self._limit, sum(kept) if self._merge else max(kept))
        if limit < self._limit:
            meta.write_meta(str(self._directory), limit)
            self._limit = limit

    def sizes(self) -> dict[str, StreamSize]:
        """What is kept of the beginning of each stream, and what is beyond that."""
        found = {}
        for stream, name in _NAMES.items():
            total = self._prefix[stream] + self._seen[stream]
            if self._merge:
                total = 0
                if stream == STDOUT:
                    total = sum(self._prefix.values()) + sum(self._seen.values())
            kept = min(total, self._limit)
            found[name] = StreamSize(kept, total - kept)
        return found

    def close(self) -> None:
        """Close the files."""
        self.flush()
        self._order.close()
        fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.close(fd)
        for ending in self._endings.values():
            ending.close()

    def _append(self, stream: int, data: bytes) -> None:
        stream = STDOUT if self._merge else stream
        view = memoryview(data)
        while view:
            written = os.write(self._fds[stream], view)
            self._order.add(stream, written)
            view = view[written:]
