"""The directories of attempts: created or, much cheaper, reused.

Making and deleting the handful of files and directories that one attempt needs costs more than
running a short command, and on a file system that avoids recently freed inodes it costs more with
every one. So the directory of an attempt that left nothing behind is emptied and renamed to serve
another one: of any user if all in it is this process's own, which no work can open; of the same
user if not, as whoever kept one of its files open must not get hold of what another user's attempt
writes.
"""

import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import anyio.to_thread

from taskyard.core import output_index
from taskyard.core.ids import AttemptId

SPARE: Final = ".spare"
"""Directory below the root in which those wait that can be used again."""
_QUARANTINE_S: Final = 0.2
"""How long one waits at least. Readers notice by themselves that a directory was taken back; this
spares them from having to, nearly always."""
_SPARE_MAX: Final = 8192
_META: Final = "meta.json"
"""Stays as it is: the next attempt mostly has the same limit."""
_FILES: Final = frozenset({"stdout", "stderr", output_index.FILE, _META, "attempt.jsonl"})
_WORK: Final = "work"
_ANYBODY: Final = -1
"""In place of a user: the directory can serve every one."""


class AttemptDirectories:
    """Makes ``root/<attempt id>/`` and takes back what is not needed any more.

    Thread-safe in so far as one thread makes while another one recycles.
    """

    def __init__(self, root: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._spare_root = root / SPARE
        self._monotonic = monotonic
        self._spare: dict[int, deque[tuple[float, str]]] = {}
        """By the user whose attempts they served."""
        self._spare_count = 0
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
            owner = _owner_of(path, [])
            if owner is not None:
                self._put_aside(owner, ready_at, str(path))
            if path.name.isdecimal():
                self._count = max(self._count, int(path.name) + 1)

    def path(self, attempt_id: AttemptId) -> Path:
        """Where the directory of an attempt is."""
        return self.root / attempt_id

    async def make(self, owners: Mapping[AttemptId, int | None]) -> None:
        """Make empty directories, each private to one attempt; those that exist stay as they are.

        ``owners`` are the users that the attempts run as; None is this process's own. Raises
        ``OSError``.
        """
        # A rename takes a tenth of what a trip to a thread does; making one may take long.
        missing = [
            target
            for attempt_id, owner in owners.items()
            if not self._reuse(owner, target := f"{self.root}/{attempt_id}")
        ]
        if missing:
            await anyio.to_thread.run_sync(_make_all, missing)

    def _reuse(self, owner: int | None, target: str) -> bool:
        """Have a spare directory take this place; False if there is none, or the place is taken."""
        spare = self._take_spare(os.geteuid() if owner is None else owner)
        if spare is None or os.path.lexists(target):
            return False
        try:
            os.rename(spare, target)  # noqa: PTH104 - hot path
        except OSError:
            return False
        return True

    def _take_spare(self, owner: int) -> str | None:
        for served in (owner, _ANYBODY):
            spare = self._spare.get(served)
            if spare and spare[0][0] <= self._monotonic():
                with contextlib.suppress(IndexError):
                    taken = spare.popleft()[1]
                    self._spare_count -= 1
                    return taken
        return None

    def _put_aside(self, owner: int, ready_at: float, spare: str) -> None:
        self._spare.setdefault(owner, deque()).append((ready_at, spare))
        self._spare_count += 1

    def recycle(self, directory: Path) -> bool:
        """Take back a directory whose output is not needed any more, wherever it lies now.

        False if it is not as an attempt that left nothing behind leaves it, or if there are
        enough: then it is to be removed instead. Blocks; meant for the thread that would remove.
        """
        found: list[str] = []
        owner = _owner_of(directory, found)
        if owner is None or self._spare_count >= _SPARE_MAX:
            return False
        self._count += 1
        spare = f"{self._spare_root}/{self._count}"
        try:
            for name in found:
                if name != _META:
                    _empty(f"{directory}/{name}")
            os.rename(directory, spare)  # noqa: PTH104 - hot path
        except OSError:
            return False
        self._put_aside(owner, self._monotonic() + _QUARANTINE_S, spare)
        return True


def _make_all(targets: list[str]) -> None:
    for target in targets:
        with contextlib.suppress(FileExistsError):
            os.mkdir(target, 0o711)  # noqa: PTH102 - hot path


def _owner_of(directory: Path, files: list[str]) -> int | None:
    """The one user whom things in it belong to, besides what is always this process's own;
    ``_ANYBODY`` if there is nothing else.

    None unless everything in it is of the kind and with the rights it was made with. The names of
    its files are appended to ``files``.
    """
    ours = os.geteuid()
    others: set[int] = set()
    has_work = False
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if facts.st_uid != ours:
                    others.add(facts.st_uid)
                if entry.name in _FILES:
                    if facts.st_mode != stat.S_IFREG | 0o600 or facts.st_nlink != 1:
                        return None
                    files.append(entry.name)
                elif entry.name != _WORK or not _is_untouched(entry.path, facts):
                    return None
                else:
                    has_work = True
    except OSError:
        return None
    if len(others) > 1:
        return None
    if others:
        return others.pop()
    return ours if has_work else _ANYBODY


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
