"""Letting users pass to places below directories that keep them out.

An interpreter below ``/root``, or a data directory there, is of no use to a user of a workspace.
In a mount name space of its own, a process can cover the closed directory with an empty one that
everybody may pass, and put there the places that are needed, and nothing else.
"""

import contextlib
import ctypes
import os
import stat
from typing import Final

_CLONE_NEWNS: Final = 0x00020000
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_SLAVE: Final = 1 << 19

_libc = ctypes.CDLL(None, use_errno=True)


def closed_above(path: str) -> str | None:
    """The highest directory above a place that others may not pass; None if they get there."""
    parts = path.strip("/").split("/")[:-1]
    for count in range(1, len(parts) + 1):
        above = "/" + "/".join(parts[:count])
        with contextlib.suppress(OSError):
            if not os.stat(above).st_mode & stat.S_IXOTH:
                return above
    return None


def open_up(places: list[str]) -> None:
    """Let everybody get to these directories, as far as their own rights let them.

    Only this process and those it starts see it so. Raises ``OSError`` where that is not allowed;
    then everything is as it was, or places are out of reach.
    """
    closed = {place: above for place in places if (above := closed_above(place)) is not None}
    if not closed:
        return
    _check(_libc.unshare(_CLONE_NEWNS))
    _mount(None, "/", None, _MS_REC | _MS_SLAVE, None)
    opened = {one: os.open(one, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for one in closed}
    before = os.umask(0o066)
    try:
        for above in sorted(set(closed.values())):
            _mount("tmpfs", above, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0711,size=1m")
        for place in sorted(closed):
            os.makedirs(place, exist_ok=True)
            _mount(f"/proc/self/fd/{opened[place]}", place, None, _MS_BIND | _MS_REC, None)
    finally:
        os.umask(before)
        for descriptor in opened.values():
            os.close(descriptor)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None) -> None:
    texts = [None if one is None else os.fsencode(one) for one in (source, target, kind, data)]
    _check(_libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
