"""Working directories that lie apart from their attempts' own, used again when they are empty.

Making and removing one costs more than running a short command, the more so where the file system
avoids inodes that were freed a moment ago. So one that its attempt left empty serves another
attempt of the same user.
"""

import contextlib
import os
import stat
from collections import deque
from pathlib import Path
from typing import Final

from taskyard.runtimes.command.cleaning import remove

_SPARE_MAX: Final = 8192
_SPARE: Final = ".spare-"
"""Begins the names of those that wait; a start of the server removes what is no attempt's."""


class WorkDirectories:
    """Those below one root. One thread may prepare while another one cleans."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._spare: dict[int, deque[str]] = {}
        """By the user they belong to."""
        self._count = 0

    def prepare(self, name: str, uid: int | None) -> str:
        """Where the attempt of this name works; made already if there was one to be used again.

        ``uid`` is its user, this process's own when None.
        """
        target = f"{self._root}/{name}"
        spare = self._spare.get(os.geteuid() if uid is None else uid)
        if spare and not os.path.lexists(target):
            with contextlib.suppress(IndexError, OSError):
                os.rename(spare.pop(), target)  # noqa: PTH104 - hot path
        return target

    def clean(self, name: str) -> None:
        """The attempt has ended: put its directory aside, or remove it with all it holds."""
        path = f"{self._root}/{name}"
        try:
            facts = os.lstat(path)
        except FileNotFoundError:
            return
        spare = self._spare.setdefault(facts.st_uid, deque())
        if len(spare) < _SPARE_MAX and _is_untouched(path, facts):
            self._count += 1
            aside = f"{self._root}/{_SPARE}{os.getpid()}-{self._count}"
            os.rename(path, aside)  # noqa: PTH104 - hot path
            spare.append(aside)
        else:
            remove(Path(path))


def _is_untouched(path: str, facts: os.stat_result) -> bool:
    if facts.st_mode != stat.S_IFDIR | 0o700:
        return False
    with os.scandir(path) as entries:
        return next(entries, None) is None
