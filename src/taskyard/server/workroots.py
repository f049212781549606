"""Working directories outside the data directory, and what servers that are gone left of them.

Where a directory above the data directory keeps other users out, as ``/root`` does, the working
directories of workspaces' users are below ``/var/tmp``: one root per data directory, named by the
device and inode of that, root's own and closed to all but their users. It goes when a server stops
and nothing runs in it any more. A data directory that is deleted while no server runs leaves its
root behind; each root therefore records whose it is, and a later server removes it.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import Final

import structlog

OUTSIDE: Final = Path("/var/tmp")  # noqa: S108 - whoever makes or removes a root checks its owner
RECORD: Final = ".data-directory"
"""File in a root: the path of its data directory. Locked while a server uses the root."""
_PATTERN: Final = "taskyard-*-*"
_RECORD_MAX_BYTES: Final = 4096 * 4
_SPARE: Final = ".spare-"

log = structlog.get_logger(__name__)


def outer_work_root(data: Path, outside: Path = OUTSIDE) -> Path:
    """Where working directories are that cannot be in the data directory. Raises ``OSError``."""
    facts = data.stat()
    return outside / f"taskyard-{facts.st_dev:x}-{facts.st_ino:x}"


class WorkRoot:
    """The root of one data directory, while a server uses it."""

    def __init__(self, path: Path, record_fd: int) -> None:
        self.path = path
        self._record_fd = record_fd

    def close(self) -> None:
        """Let go of it, and remove it unless something still runs in it. Blocks."""
        try:
            for spare in self.path.glob(f"{_SPARE}*"):
                spare.rmdir()
            if all(entry.name == RECORD for entry in self.path.iterdir()):
                (self.path / RECORD).unlink(missing_ok=True)
                self.path.rmdir()
        except OSError as error:
            log.warning("work_root_not_removed", path=str(self.path), reason=str(error))
        finally:
            os.close(self._record_fd)


def open_work_root(data: Path, outside: Path = OUTSIDE) -> WorkRoot | None:
    """The root of this data directory, made if missing; without what ended attempts left in it.

    None if working directories are inside the attempts' own, because every user can reach those.
    Raises ``OSError`` if it cannot be made, or belongs to somebody else. Blocks.
    """
    if all(_lets_pass(parent) for parent in data.parents):
        return None
    path = outer_work_root(data, outside)
    record_fd = _hold(path)
    os.pwrite(record_fd, os.fsencode(data), 0)
    os.ftruncate(record_fd, len(os.fsencode(data)))
    attempts = data / "attempts"
    for left in path.iterdir():
        if left.name != RECORD and not (attempts / left.name).exists():
            shutil.rmtree(left, ignore_errors=True)
    return WorkRoot(path, record_fd)


def remove_abandoned(outside: Path = OUTSIDE) -> list[Path]:
    """Remove roots whose data directories are gone; which ones those were. Blocks.

    Only where nothing speaks against it: the root and its record are this user's, no server holds
    it, no process works in it, and the file system that held its data directory is mounted, with
    nothing at that path. One that cannot be removed stays.
    """
    removed = []
    for path in outside.glob(_PATTERN):
        with contextlib.suppress(OSError):
            if _is_ours(path) and _remove_if_abandoned(path):
                removed.append(path)
    if removed:
        log.info("work_roots_removed", paths=[str(path) for path in removed])
    return removed


def _remove_if_abandoned(path: Path) -> bool:
    fd = os.open(path / RECORD, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        data = Path(os.fsdecode(os.pread(fd, _RECORD_MAX_BYTES, 0)))
        if not data.is_absolute() or not _is_gone(data, path.name) or _is_in_use(path):
            return False
        shutil.rmtree(path)
        return True
    finally:
        os.close(fd)


def _is_gone(data: Path, name: str) -> bool:
    """Whether this data directory was deleted, rather than moved out of sight with its disk."""
    try:
        facts = data.lstat()
    except (FileNotFoundError, NotADirectoryError):
        above = next(one for one in data.parents if one.exists())
        return name.startswith(f"taskyard-{above.stat().st_dev:x}-")
    return name.startswith(f"taskyard-{facts.st_dev:x}-") and name != (
        f"taskyard-{facts.st_dev:x}-{facts.st_ino:x}"
    )


def _is_in_use(root: Path) -> bool:
    """Whether a process works in it: commands outlive their server, and its data directory."""
    inside = f"{root}/"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "cwd").readlink()).startswith(inside):
                return True
    return False


def _hold(root: Path) -> int:
    """Make the root and lock its record, for as long as the answered descriptor is open."""
    while True:
        root.mkdir(mode=0o711, exist_ok=True)
        if not _is_ours(root):
            raise OSError(f"{root} belongs to another user; remove it")
        root.chmod(0o711)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(root / RECORD, flags, 0o600)
        # Shared: what a killed server forked may hold it for a moment.
        fcntl.flock(fd, fcntl.LOCK_SH)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # Another server removed it meanwhile.


def _is_ours(root: Path) -> bool:
    facts = root.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()


def _lets_pass(directory: Path) -> bool:
    return bool(directory.stat().st_mode & stat.S_IXOTH)
