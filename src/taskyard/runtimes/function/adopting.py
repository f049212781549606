"""Putting a process that a zygote has forked into its own cgroups.

A zygote is its workspace's: it may not move processes, and it may say anything. Whatever it claims
to have forked is therefore looked at before this process, which may be root's, touches it.
"""

import os
import select
import signal
from typing import Final

from taskyard.runtimes.processes import proc

_UID: Final = "Uid:"


class NotItsChild(Exception):
    """The process is not what its zygote says it is."""


def adopt(pid: int, zygote: int, uid: int, doors: list[str]) -> None:
    """Move a process that a zygote has forked, as long as it has run nothing of anybody's.

    Args:
        pid: of the process, as the zygote says.
        zygote: of the zygote, as the fork server says.
        uid: the user of both.
        doors: files of the cgroups.

    Raises :class:`NotItsChild`; ``OSError`` if it is dead, or cannot be moved: then it is killed.
    """
    # As long as this is open and says that the process lives, no other one has its number.
    try:
        watch = os.pidfd_open(pid)
    except OverflowError as error:
        raise NotItsChild from error
    try:
        found = proc.process(pid)
        if found is None or found.parent != zygote or _users(pid) != {uid}:
            if _is_over(watch):
                raise ProcessLookupError
            raise NotItsChild
        try:
            for door in doors:
                _enter(door, pid)
            if _is_over(watch):
                raise ProcessLookupError
        except OSError:
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            raise
    finally:
        os.close(watch)


def _users(pid: int) -> set[int]:
    """Real, effective, saved and file system user. Raises ``OSError``."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a file of the kernel
        for line in file:
            if line.startswith(_UID):
                return {int(one) for one in line.split()[1:]}
    return set()


def _is_over(watch: int) -> bool:
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    return bool(poll.poll(0))


def _enter(door: str, pid: int) -> None:
    descriptor = os.open(door, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(pid).encode())
    finally:
        os.close(descriptor)
