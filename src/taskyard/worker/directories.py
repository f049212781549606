"""The directories of attempts: made anew or, much cheaper, used again.

Making and deleting the handful of files and directories that one attempt needs costs more than
running a short command, and on a file system that avoids recently freed inodes it costs more with
every one. So the directory of an attempt that left nothing behind is emptied and renamed to serve
another one.
"""

import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.core.ids import AttemptId

SPARE: Final = ".spare"
"""Directory below the root in which those wait that can be used again."""
_QUARANTINE_S: Final = 0.2
"""How long one waits at least. Readers notice by themselves that a directory was taken back; this
spares them from having to, nearly always."""
_SPARE_MAX: Final = 8192
_FILES: Final = frozenset({"stdout", "stderr", "meta.json", "attempt.jsonl"})
_WORK: Final = "work"


class AttemptDirectories:
    """Makes ``root/<attempt id>/`` and takes back what is not needed any more.

    Thread-safe in so far as one thread makes while another one recycles.
    """

    def __init__(self, root: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._spare_root = root / SPARE
        self._monotonic = monotonic
        self._spare: deque[tuple[float, str]] = deque()
        self._count = 0

    async def open(self) -> None:
        """Make the root, and find what an earlier process put aside. Raises ``OSError``."""
        await anyio.to_thread.run_sync(self._open)

    def _open(self) -> None:
        # Others may pass through, so that a command of another user finds its own directory.
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._spare_root.mkdir(mode=0o700, exist_ok=True)
        ready_at = self._monotonic() + _QUARANTINE_S
        for path in self._spare_root.iterdir():
            self._spare.append((ready_at, str(path)))
            if path.name.isdecimal():
                self._count = max(self._count, int(path.name) + 1)

    def path(self, attempt_id: AttemptId) -> Path:
        """Where the directory of an attempt is."""
        return self.root / attempt_id

    async def make(self, attempt_ids: Iterable[AttemptId]) -> None:
        """Make empty directories, each private to one attempt; those that exist stay as they are.

        Raises ``OSError``.
        """
        # A rename takes a tenth of what a trip to a thread does; making one may take long.
        missing = [
            target
            for attempt_id in attempt_ids
            if not self._reuse(target := f"{self.root}/{attempt_id}")
        ]
        if missing:
            await anyio.to_thread.run_sync(_make_all, missing)

    def _reuse(self, target: str) -> bool:
        """Have a spare directory take this place; False if there is none, or the place is taken."""
        spare = self._take_spare()
        if spare is None or os.path.lexists(target):
            return False
        try:
            os.rename(spare, target)  # noqa: PTH104 - hot path
        except OSError:
            return False
        return True

    def _take_spare(self) -> str | None:
        if self._spare and self._spare[0][0] <= self._monotonic():
            with contextlib.suppress(IndexError):
                return self._spare.popleft()[1]
        return None

    def recycle(self, directory: Path) -> bool:
        """Take back a directory whose output is not needed any more, wherever it lies now.

        False if it is not as an attempt that left nothing behind leaves it, or if there are
        enough: then it is to be removed instead. Blocks; meant for the thread that would remove.
        """
        if len(self._spare) >= _SPARE_MAX or not _is_plain(directory):
            return False
        self._count += 1
        spare = f"{self._spare_root}/{self._count}"
        try:
            for name in ("stdout", "stderr", "attempt.jsonl"):
                with contextlib.suppress(FileNotFoundError):
                    _empty(f"{directory}/{name}")
            os.rename(directory, spare)  # noqa: PTH104 - hot path
        except OSError:
            return False
        self._spare.append((self._monotonic() + _QUARANTINE_S, spare))
        return True


def _make_all(targets: list[str]) -> None:
    for target in targets:
        with contextlib.suppress(FileExistsError):
            os.mkdir(target, 0o711)  # noqa: PTH102 - hot path


def _is_plain(directory: Path) -> bool:
    """Whether everything in it is ours, of the kind and with the rights it was made with."""
    owner = os.geteuid()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if facts.st_uid != owner:
                    return False
                if entry.name in _FILES:
                    if facts.st_mode != stat.S_IFREG | 0o600 or facts.st_nlink != 1:
                        return False
                elif entry.name != _WORK or not _is_untouched(entry.path, facts):
                    return False
    except OSError:
        return False
    return True


def _is_untouched(work: str, facts: os.stat_result) -> bool:
    if facts.st_mode != stat.S_IFDIR | 0o700:
        return False
    with os.scandir(work) as entries:
        return next(entries, None) is None


def _empty(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
