"""Whether this server can run the work of each workspace as a user of its own, and where."""

import os
import shutil
import stat
from pathlib import Path
from typing import Final

_NEEDED: Final = {
    0: "CAP_CHOWN",
    1: "CAP_DAC_OVERRIDE",
    3: "CAP_FOWNER",
    5: "CAP_KILL",
    6: "CAP_SETGID",
    7: "CAP_SETUID",
}
"""Capabilities by their bit in ``/proc/self/status``."""


def obstacle_to_users(first: int, last: int) -> str | None:
    """Why this process cannot become these users; None if it can."""
    if os.geteuid() != 0:
        return "the server is not run by root"
    if not _is_mapped(Path("/proc/self/uid_map"), first, last) or not _is_mapped(
        Path("/proc/self/gid_map"), first, last
    ):
        return f"the user ids {first} to {last} do not exist in this user namespace"
    missing = _missing_capabilities()
    return f"it lacks {', '.join(missing)}" if missing else None


def _is_mapped(table: Path, first: int, last: int) -> bool:
    try:
        lines = table.read_text("ascii").splitlines()
    except OSError:
        return True  # Without user namespaces all ids exist.
    for line in lines:
        inside, _, count = map(int, line.split())
        if inside <= first and last < inside + count:
            return True
    return False


def _missing_capabilities() -> list[str]:
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return []
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return [name for bit, name in _NEEDED.items() if not effective >> bit & 1]
    return []


def work_root(data: Path) -> Path | None:
    """Where working directories are that users of workspaces can reach.

    None if that is inside the attempts' own directories. Where a directory above keeps others
    out, as ``/root`` does, they are below ``/var/tmp``, root's and closed to all but their users.
    Raises ``OSError`` if that cannot be made, or belongs to somebody else.
    """
    if all(_lets_pass(parent) for parent in data.parents):
        return None
    root = outer_work_root(data)
    root.mkdir(mode=0o711, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(f"{root} belongs to somebody else; remove it")
    root.chmod(0o711)
    attempts = data / "attempts"
    for left in root.iterdir():
        if not (attempts / left.name).exists():
            shutil.rmtree(left, ignore_errors=True)
    return root


def outer_work_root(data: Path) -> Path:
    """Where working directories are that cannot be in the data directory. Raises ``OSError``."""
    facts = data.stat()
    return Path("/var/tmp") / f"taskyard-{facts.st_dev:x}-{facts.st_ino:x}"  # noqa: S108 - whoever makes it looks whose it is


def _lets_pass(directory: Path) -> bool:
    return bool(directory.stat().st_mode & stat.S_IXOTH)
