"""What a container prints: two files for the call it has, and how much came in all."""

import asyncio
import os
from pathlib import Path
from typing import Final

import anyio

from taskyard.core import output_index
from taskyard.runtimes.engine.frames import STDERR, STDOUT
from taskyard.runtimes.function.instance_output import CARRIED_BYTES, Printed
from taskyard.runtimes.output import disk_space
from taskyard.runtimes.output.meta import write_meta
from taskyard.runtimes.output.order import OrderWriter

IDLE_BYTES: Final = 64 << 10
"""Kept of each stream while there is no call; the next one gets it."""
QUIET_S: Final = 0.01
"""When nothing has come for so long, a program that does not count is taken to have said it all."""
LATE_S: Final = 1.0
"""How long what a program says it printed may be on its way."""
_NAMES: Final = {STDOUT: "stdout", STDERR: "stderr"}
_MODE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class CapturedOutput:
    """The output of one container, and in what order it came.

    Writes go to the page cache, at once; they wait for no disk. What is beyond a call's limit
    makes its file longer, but takes no room: the size still tells how much there was.
    """

    def __init__(self, directory: Path) -> None:
        """``directory`` exists and is the instance's alone."""
        self._directory = directory
        self._fds: dict[int, int] = {}
        self._size = {STDOUT: 0, STDERR: 0}
        self._order = OrderWriter(str(directory))
        self._flushing: asyncio.TimerHandle | None = None
        self._limit = IDLE_BYTES
        self._has_call = False
        self._total = {STDOUT: 0, STDERR: 0}
        self._last_at = 0.0
        self._news = asyncio.Event()
        self.over = False
        """Whether nothing more can come."""

    def open(self) -> None:
        """Begin new files. Raises ``OSError``."""
        self.close()
        for stream, name in _NAMES.items():
            self._fds[stream] = os.open(self._directory / name, _FLAGS, _MODE)
            self._size[stream] = os.fstat(self._fds[stream]).st_size
        self._begin_order()

    def _begin_order(self) -> None:
        self._order.close()
        (self._directory / output_index.FILE).unlink(missing_ok=True)
        self._order = OrderWriter(str(self._directory))
        self._order.open()

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._order.flush()

    def close(self) -> None:
        """Close the files; what comes now is not kept."""
        self._flush()
        self._order.close()
        fds, self._fds = self._fds, {}
        for fd in fds.values():
            os.close(fd)

    def begin(self, limit_bytes: int) -> None:
        """A call begins, of whose streams so much is kept."""
        self._limit, self._has_call = limit_bytes, True

    def look(self, directory: Path) -> None:
        """Where the disk is nearly full, keep what there is of the call's output, and a little.

        ``directory`` is the attempt's, whose readers are told. Raises ``OSError``.
        """
        if disk_space.room(str(directory)) < 1:
            limit = disk_space.cut_at(
                self._limit, max(min(size, self._limit) for size in self._size.values())
            )
            if limit < self._limit:
                write_meta(str(directory), limit)
                self._limit = limit

    def end(self) -> None:
        """The call is over."""
        self._flush()
        self._limit, self._has_call = IDLE_BYTES, False

    def take(self, stream: int, data: bytes) -> None:
        """The next bytes of a stream. Raises ``OSError``, such as for a full disk."""
        stream = STDERR if stream == STDERR else STDOUT
        self._total[stream] += len(data)
        self._last_at = asyncio.get_running_loop().time()
        self._news.set()
        fd = self._fds.get(stream)
        if fd is None:
            return
        size = self._size[stream]
        kept = data[: max(0, self._limit - size)]
        view = memoryview(kept)
        while view:
            written = os.pwrite(fd, view, size)
            self._order.add(stream, written)
            view, size = view[written:], size + written
        due_in_s = self._order.due_in_s
        if due_in_s is not None and self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(due_in_s, self._flush)
        if self._has_call and len(kept) < len(data):
            size += len(data) - len(kept)
            os.ftruncate(fd, size)
        self._size[stream] = size

    def finish(self) -> None:
        """Nothing more can come."""
        self.over = True
        self._news.set()

    def has(self, counts: tuple[int, int]) -> bool:
        """Whether so much of each stream has come since the container began."""
        return self._total[STDOUT] >= counts[0] and self._total[STDERR] >= counts[1]

    async def settled(self, counts: tuple[int, int] | None) -> None:
        """Return when so much has come or, with None, when nothing has for a moment; or late."""
        with anyio.move_on_after(LATE_S):
            if counts is None:
                await self._quiet()
                return
            while not (self.over or self.has(counts)):
                self._news.clear()
                await self._news.wait()

    async def _quiet(self) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        while not self.over:
            left = max(self._last_at, begun_at) + QUIET_S - loop.time()
            if left <= 0:
                return
            await anyio.sleep(left)

    def collected(self) -> Printed | None:
        """What the call printed, if it is little: then the files are emptied. None if it is much.

        With the index of their order under ``order`` if there is something of both streams. Raises
        ``OSError``.
        """
        self._flush()
        if sum(self._size.values()) > CARRIED_BYTES or not self._fds:
            return None
        printed = {}
        for stream, size in self._size.items():
            if size:
                printed[_NAMES[stream]] = os.pread(self._fds[stream], size, 0)
                os.ftruncate(self._fds[stream], 0)
                self._size[stream] = 0
        if len(printed) > 1:
            printed[output_index.FILE] = (self._directory / output_index.FILE).read_bytes()
        if printed:
            self._begin_order()
        return printed

    def last_words(self) -> str:
        """The end of what it said, both streams, for whoever has to find out what is wrong."""
        texts = []
        for name in _NAMES.values():
            try:
                with (self._directory / name).open("rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - CARRIED_BYTES // 2))
                    texts.append(file.read().decode(errors="replace").strip())
            except OSError:
                continue
        return "\n".join(text for text in texts if text)
