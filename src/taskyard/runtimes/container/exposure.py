"""Which directories of this machine must not be shown to containers, whatever else is allowed.

A path is compared by where it lies: the file system it is on and its place in there, as
``/proc/self/mountinfo`` tells (proc(5)). So a bind mount of a protected directory is found at
every place it is mounted, and mounts further down count too, as engines take them along.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

_MOUNTS: Final = Path("/proc/self/mountinfo")
_KERNEL: Final = frozenset(
    {
        *("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs"),
        *("tracefs", "configfs", "pstore", "bpf", "efivarfs", "binfmt_misc", "selinuxfs", "nsfs"),
    }
)
"""File systems through which the kernel is spoken to."""
KERNEL_PATHS: Final = ("/proc", "/sys", "/dev")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Mount(Struct, frozen=True):
    """A line of the table of mounts."""

    device: str
    """Tells file systems apart."""
    root: str
    """What of the file system is mounted."""
    point: str
    """Where."""
    kind: str


class _Location(Struct, frozen=True):
    device: str
    inner: str


def mounts() -> list[Mount]:
    """The mounts that this process sees, in the order in which they were made; none if unknown."""
    try:
        lines = _MOUNTS.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        found.append(Mount(parts[2], _plain(parts[3]), _plain(parts[4]), rest.split()[0]))
    return found


def exposed(path: str, protected: Sequence[str], table: Sequence[Mount]) -> str | None:
    """What a directory would show that it must not: a protected path or a kernel's; None if none.

    Args:
        path: a real path, without links.
        protected: paths whose content, and whatever contains them, stays out of sight.
        table: see :func:`mounts`.
    """
    secret = [os.path.realpath(one) for one in (*KERNEL_PATHS, *protected)]
    for one in secret:
        if _related(path, one):
            return one
    inside = [mount for mount in table if _is_below(mount.point, path)]
    for mount in inside:
        if mount.kind in _KERNEL:
            return mount.point
    shown = [_Location(mount.device, mount.root) for mount in inside]
    here = _location(path, table)
    if here is not None:
        shown.append(here)
    for one in secret:
        where = _location(one, table)
        if where is not None and any(
            where.device == seen.device and _related(where.inner, seen.inner) for seen in shown
        ):
            return one
    return None


def _location(path: str, table: Sequence[Mount]) -> _Location | None:
    best: Mount | None = None
    for mount in table:
        if _is_below(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    if best is None:
        return None
    rest = os.path.relpath(path, best.point)
    return _Location(best.device, os.path.normpath(os.path.join(best.root, rest)))  # noqa: PTH118 - text only


def _related(one: str, other: str) -> bool:
    """Whether one of them is in the other, or the same."""
    return _is_below(one, other) or _is_below(other, one)


def _is_below(path: str, directory: str) -> bool:
    return Path(path).is_relative_to(directory)


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
