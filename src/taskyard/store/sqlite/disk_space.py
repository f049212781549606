"""Disk space: a reserve for operations that free space, and giving unused space back.

A file of some size is kept beside the store. When the disk is full it is given up, so that ends,
kills and deletes can still be stored; until it is there again nothing else is. It comes back by
itself once the disk has room for it.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

RESERVE_NAME: Final = "reserve"
LARGEST_SHARE: Final = 8
"""A reserve is at most this part (one in so many) of its file system."""
WAL_KEPT_BYTES: Final = 4 << 20
"""A write-ahead log that is larger is given back when there is little to do."""
LULL_OPERATIONS: Final = 50
_LOOK_EVERY_S: Final = 5.0
_RETRY_S: Final = 0.05
_TIDY_IN_NEED_S: Final = 1.0

log = structlog.get_logger(__name__)


class Reserve:
    """A file that is deleted when the disk is full. Blocks; every method may be repeated.

    Args:
        directory: where it lies, beside the store.
        size_bytes: of the file; less on a small file system, and none at all if 0.
    """

    def __init__(self, directory: Path, size_bytes: int) -> None:
        self.path = directory / RESERVE_NAME
        self._wanted = size_bytes

    @property
    def size_bytes(self) -> int:
        """Its intended size."""
        whole = os.statvfs(self.path.parent)
        return min(self._wanted, whole.f_blocks * whole.f_frsize // LARGEST_SHARE)

    @property
    def is_held(self) -> bool:
        """Whether it exists, or none is wanted."""
        return not self._wanted or self.path.exists()

    @property
    def is_low(self) -> bool:
        """Whether less than an eighth of its size is free: no work should begin."""
        return bool(self._wanted) and free_bytes(self.path.parent) < self.size_bytes // 8

    def give_up(self) -> bool:
        """Delete it; False if it did not exist."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        log.error("disk_full", reserve="given up", path=str(self.path))
        return True

    def restore(self) -> bool:
        """Have it there again if the disk has room for it and a little more; whether it is."""
        if self.is_held:
            return True
        size = self.size_bytes
        if free_bytes(self.path.parent) < size + size // 4:
            return False
        beside = self.path.with_name(f".{RESERVE_NAME}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, max(1, size))
            finally:
                os.close(descriptor)
            beside.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            log.warning("disk_reserve_not_made", reason=str(error))
            return False
        # Not logged: commands that work without a server print JSON on standard output.
        return True


class SqliteDiskSpace:
    """The writer's view of the disk. Belongs to the writer's thread.

    Args:
        connection: that writes.
        database: the store's file.
        reserve: given up when the disk is full.
        monotonic: seconds.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        database: Path,
        reserve: Reserve,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._wal = Path(f"{database}-wal")
        self._reserve = reserve
        self._monotonic = monotonic
        self._looked_at = monotonic() - _LOOK_EVERY_S
        self._operations = 0
        self._is_short = not reserve.restore()
        self._tried_at = monotonic()

    def is_short(self) -> bool:
        """Whether only urgent operations may be stored now; tries to end that at intervals."""
        if self._is_short and self._monotonic() - self._tried_at >= _RETRY_S:
            self._tried_at = self._monotonic()
            self._is_short = not self._reserve.restore()
        return self._is_short

    def give_up(self) -> bool:
        """Free some space on a full disk; False if there is none to free."""
        given = self._reserve.give_up()
        self._is_short = not self._reserve.is_held
        self._tried_at = self._monotonic()
        return given

    def tidy(self, operations: int) -> None:
        """After a commit of so many operations: give back the log when there is little to do.

        A log is written over from its beginning again and again, and would stay as large as it
        ever was. Never waits for readers, and fails with nobody's commit.
        """
        self._operations += operations
        now = self._monotonic()
        if now - self._looked_at < (_TIDY_IN_NEED_S if self._is_short else _LOOK_EVERY_S):
            return
        busy, self._operations, self._looked_at = self._operations, 0, now
        if not self._reserve.is_held:
            # Given up, or removed by somebody.
            self._is_short = not self._reserve.restore()
        if not self._is_short and (busy > LULL_OPERATIONS or self._wal_bytes() <= WAL_KEPT_BYTES):
            return
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            log.warning("log_not_given_back", reason=str(error))
        finally:
            self._connection.execute("PRAGMA busy_timeout = 5000")

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0


def free_bytes(directory: Path) -> int:
    """Bytes of a file system that are free for ordinary users."""
    whole = os.statvfs(directory)
    return whole.f_bavail * whole.f_frsize
