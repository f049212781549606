"""The few system calls that the standard library does not offer."""

import ctypes
import os
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_CHILD_SUBREAPER: Final = 36

_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make orphans among this process's descendants its own children. Raises ``OSError``."""
    _prctl(_PR_SET_CHILD_SUBREAPER)


def give_up_new_privileges() -> None:
    """Make set-user-id programs ineffective for this process and all it starts, for good.

    Raises ``OSError``.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS)


def _prctl(option: int) -> None:
    arguments = (ctypes.c_ulong(value) for value in (1, 0, 0, 0))
    if _libc.prctl(ctypes.c_int(option), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
