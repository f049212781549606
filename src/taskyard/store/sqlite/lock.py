"""The right to open a data directory."""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any, Final

from taskyard.core.errors import StoreInUse

_LAST_COMMIT_S: Final = 10.0
"""Seconds that the store process of a server that was killed gets to end."""


class DirectoryLock:
    """The right to open a data directory, held by one process at a time.

    The lock goes with the process however it ends; the file beside it says who holds it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self.descriptor = -1
        """The descriptor that holds it, to be inherited by the store server; -1 while not held."""

    def acquire(self) -> None:
        """Take it. Raises ``StoreInUse`` if another process holds it. Blocks.

        Where its owner is gone and the lock is not, the owner's store process is about to be: it
        holds the lock as well until its last commit is done.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + _LAST_COMMIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                owner = _owner(os.pread(descriptor, 4096, 0))
                if _is_alive(owner) or time.monotonic() > give_up_at:
                    os.close(descriptor)
                    raise StoreInUse(str(self._path.parent), owner) from error
            time.sleep(0.005)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        self.descriptor = descriptor

    def release(self) -> None:
        """Release it. May be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _is_alive(owner: dict[str, Any] | None) -> bool:
    """Whether the owner is alive; True if it is unknown."""
    if owner is None or not isinstance(owner.get("pid"), int):
        return True
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _owner(content: bytes) -> dict[str, Any] | None:
    try:
        owner = json.loads(content)
    except ValueError:
        return None
    return owner if isinstance(owner, dict) else None
