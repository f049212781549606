"""The few system calls that the standard library does not offer."""

import ctypes
import os
import signal
from collections.abc import Sequence
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


def signal_descriptor(numbers: Sequence[int]) -> int:
    """Block signals in this thread and read them from the answer, 128 bytes each, without waiting.

    What this thread starts has them blocked, unless it sees to that. Raises ``OSError``.
    """
    if not hasattr(_libc, "signalfd"):
        raise OSError("this system has no signalfd")
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    mask = (ctypes.c_uint64 * 16)(sum(1 << (number - 1) for number in numbers))
    flags = os.O_NONBLOCK | os.O_CLOEXEC
    fd: int = _libc.signalfd(ctypes.c_int(-1), ctypes.byref(mask), ctypes.c_int(flags))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _prctl(option: int) -> None:
    arguments = (ctypes.c_ulong(value) for value in (1, 0, 0, 0))
    if _libc.prctl(ctypes.c_int(option), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
