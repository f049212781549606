"""The output of all attempts of this machine: the log port over attempt directories.

Reads that the page cache can answer happen at once, in the loop: handing over to a thread costs
several times as much. Whatever would wait for the disk or has to be unpacked goes to a thread.
No descriptor outlives a call.
"""

import contextlib
import os
import re
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread

from taskyard.core.attempts import StreamSize
from taskyard.core.ids import AttemptId
from taskyard.ports.logs import Stream
from taskyard.worker.output.archive import ArchiveReader
from taskyard.worker.output.attempt_log import AttemptOutput
from taskyard.worker.output.log_watch import LogWatch

LARGEST_READ_BYTES: Final = 8 << 20
"""No single read answers with more."""
POLL_S: Final = 0.012
IDLE_POLL_S: Final = 0.04
TRASH: Final = ".trash"
"""Directory below the root whose content waits to be removed."""
_DIRECT_BYTES: Final = 256 << 10
_OUTPUTS_KEPT: Final = 1024
_READERS: Final = 8
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class LogFiles:
    """A ``LogStore`` over ``root/<attempt id>/``. Belongs to one event loop."""

    def __init__(
        self,
        root: Path,
        *,
        poll_s: float = POLL_S,
        idle_poll_s: float = IDLE_POLL_S,
        recycle: Callable[[Path], bool] = lambda _directory: False,
    ) -> None:
        """Prepare, without touching the disk.

        Args:
            root: where the directories of attempts are.
            poll_s: seconds between two looks at output that is followed.
            idle_poll_s: the same for output that has not grown lately.
            recycle: takes a directory that is not needed any more, to use it again; False if it
                has no use for it.
        """
        self._root = root
        self._recycle = recycle
        self._trash = root / TRASH
        self._archives = ArchiveReader()
        self._outputs: OrderedDict[str, AttemptOutput] = OrderedDict()
        self._watch = LogWatch(poll_s, idle_poll_s)
        self._readers = anyio.CapacityLimiter(_READERS)

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """How much can be read now, and how much was dropped for being over the limit."""
        output = self.output(attempt_id)
        return StreamSize() if output is None else output.size(stream)

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short only at the present end, or past 8 MiB."""
        output = self.output(attempt_id)
        if output is None or length <= 0 or offset < 0:
            return b""
        if length <= _DIRECT_BYTES:
            with contextlib.suppress(BlockingIOError):
                return output.read(stream, offset, length, patient=False)
        length = min(length, LARGEST_READ_BYTES)

        def read() -> bytes:
            return output.read(stream, offset, length, patient=True)

        return await to_thread.run_sync(read, limiter=self._readers)

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""
        output = self.output(attempt_id)
        if output is None:
            return None
        with contextlib.suppress(BlockingIOError):
            return output.order(offset, length, patient=False)

        def read() -> bytes | None:
            return output.order(offset, length, patient=True)

        return await to_thread.run_sync(read, limiter=self._readers)

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """Wait until a stream may have grown; False after ``timeout_s`` without growth.

        ``seen_bytes`` is what the sizes of both streams together were when the caller last looked:
        with anything else there now, it answers at once, so that no growth falls in between.
        """
        output = self.output(attempt_id)
        if output is None:
            await anyio.sleep(timeout_s)
            return False
        with self._watch.waiting(output) as event:
            if seen_bytes is not None and seen_bytes != sum(
                output.size(stream).stored_bytes for stream in Stream
            ):
                return True
            with anyio.move_on_after(timeout_s):
                await event.wait()
                return True
        return False

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """Remove all that is left of these attempts on disk; unknown ones are ignored."""
        await to_thread.run_sync(self._discard_all, attempt_ids)
        for attempt_id in attempt_ids:
            self.forget(attempt_id)
        await to_thread.run_sync(self.empty_trash)

    def holds(self, attempt_id: AttemptId) -> bool:
        """Whether an attempt has a directory here."""
        return bool(_ID.fullmatch(attempt_id)) and os.path.isdir(f"{self._root}/{attempt_id}")  # noqa: PTH112 - asked for every read

    def output(self, attempt_id: AttemptId) -> AttemptOutput | None:
        """The output of an attempt, which may be empty; None if that cannot be an attempt's id."""
        output = self._outputs.get(attempt_id)
        if output is not None:
            self._outputs.move_to_end(attempt_id)
            return output
        if not _ID.fullmatch(attempt_id):
            return None
        output = AttemptOutput(self._root / attempt_id, self._archives)
        self._outputs[attempt_id] = output
        if len(self._outputs) > _OUTPUTS_KEPT:
            self._outputs.popitem(last=False)
        return output

    def forget(self, attempt_id: AttemptId) -> None:
        """Forget an attempt and wake its waiters."""
        self._outputs.pop(attempt_id, None)
        self.touch(attempt_id)

    def touch(self, attempt_id: AttemptId) -> None:
        """Wake those waiting for this attempt's output to grow."""
        if self._watch.polling and _ID.fullmatch(attempt_id):
            self._watch.touch(self._root / attempt_id)

    def remove(self, attempt_id: AttemptId) -> None:
        """Remove a directory whose output is kept elsewhere. Waits for the disk: for a thread.

        A crash may leave the directory with part of its files. :meth:`forget` has to follow.
        """
        directory = self._root / attempt_id
        if _ID.fullmatch(attempt_id) and not self._recycle(directory):
            remove_tree(directory)

    def empty_trash(self) -> None:
        """Free the disk of everything discarded. Waits for the disk: call it in a thread."""
        for entry in _listing(self._trash):
            remove_tree(entry)

    def attempt_ids(self) -> list[AttemptId]:
        """All attempts that have a directory. Waits for the disk: call it in a thread."""
        return [AttemptId(path.name) for path in _listing(self._root) if _ID.fullmatch(path.name)]

    def _discard_all(self, attempt_ids: list[AttemptId]) -> None:
        for attempt_id in attempt_ids:
            if not _ID.fullmatch(attempt_id):
                continue
            directory = self._root / attempt_id
            try:
                directory.rename(self._trash / attempt_id)
            except FileNotFoundError:
                if directory.is_dir():
                    self._trash.mkdir(exist_ok=True)
                    directory.rename(self._trash / attempt_id)
            except OSError:
                # An earlier directory of that name is still there, not yet removed.
                remove_tree(directory)


def _listing(directory: Path) -> Iterator[Path]:
    try:
        yield from directory.iterdir()
    except FileNotFoundError:
        return


def remove_tree(path: Path) -> None:
    """Remove a directory tree regardless of file modes; a missing one is fine."""
    if _remove_shallow(path):
        return

    def again(_function: Any, name: str, trouble: tuple[Any, BaseException, Any]) -> None:
        error = trouble[1]
        if isinstance(error, FileNotFoundError):
            return
        if not isinstance(error, PermissionError) or name in opened:
            raise error
        # The work may have taken our own rights to its directories away.
        opened.add(name)
        for directory in (Path(name).parent, Path(name)):
            if directory.is_relative_to(path) and stat.S_ISDIR(directory.lstat().st_mode):
                directory.chmod(0o700)
        if Path(name).is_dir():
            shutil.rmtree(name, onerror=again)
        else:
            Path(name).unlink(missing_ok=True)

    opened: set[str] = set()
    shutil.rmtree(path, onerror=again)


def _remove_shallow(path: Path) -> bool:
    """Remove a directory of files and empty directories, in few calls; False if it is not that.

    Never follows a link: ``unlink`` takes the link itself.
    """
    try:
        for name in os.listdir(path):  # noqa: PTH208 - names are all that is needed
            entry = f"{path}/{name}"
            try:
                os.unlink(entry)  # noqa: PTH108 - done for every attempt there ever was
            except IsADirectoryError:
                os.rmdir(entry)  # noqa: PTH106 - as above
        os.rmdir(path)  # noqa: PTH106 - as above
    except OSError:
        return False
    return True
