"""What a new process does to itself before anybody's code runs in it."""

import contextlib
import ctypes
import os
import resource
import signal
from typing import Any, Final

_NICENESS: Final = 10
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """Raises ``OSError``."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Make orphans among this process's descendants its own children."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def close_to_others(*, closed: bool) -> None:
    """Whether processes of the same user may trace this one, and see its descriptors and memory."""
    prctl(_PR_SET_DUMPABLE, int(not closed))


def end_with(parent: int) -> None:
    """Die with the parent, and get no rights by what is executed. A change of user undoes it."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def confine(spec: dict[str, Any], parent: int) -> None:
    """Take a session, cgroups, limits and working directory of its own; die with the parent.

    Raises ``OSError``.
    """
    isolate(spec, parent)
    if spec.get("data_bytes"):
        resource.setrlimit(resource.RLIMIT_DATA, (spec["data_bytes"],) * 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    with contextlib.suppress(FileExistsError):
        os.mkdir(spec["work"], mode=0o700)
    os.chdir(spec["work"])


def isolate(spec: dict[str, Any], parent: int) -> None:
    """Take a session and the cgroups ``cgroup`` of its own, and the user; die with the parent.

    Raises ``OSError``.
    """
    os.setsid()
    for path in spec["cgroup"]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"0")
        os.close(descriptor)
    if spec["identity"] is not None:
        _become(*spec["identity"])
    end_with(parent)
    become_subreaper()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def stand_back() -> None:
    """Let others have the processors first, for the whole session."""
    with contextlib.suppress(OSError):
        niceness = max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        # Where the kernel shares processors between sessions, only this counts.
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write(str(_NICENESS))


def _become(uid: int, gid: int) -> None:
    """Be this user, for good: without further groups, and without capabilities."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    # Otherwise what is below /proc/self would be root's.
    prctl(_PR_SET_DUMPABLE, 1)


def take_output(out: int, err: int) -> None:
    """Let descriptors 1 and 2 be these, which are closed."""
    for number, descriptor in ((1, out), (2, err)):
        os.dup2(descriptor, number)
        os.close(descriptor)


def mute() -> None:
    """Let descriptor 0 be empty."""
    descriptor = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(descriptor, 0)
    os.close(descriptor)


def close_others(*kept: int) -> None:
    """Close all descriptors above 2 but these."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, 65536)
