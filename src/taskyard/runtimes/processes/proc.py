"""Looking at processes through ``/proc``."""

import os
import resource
import time
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from taskyard.runtimes.processes.environment import MARK

Json = dict[str, Any]
"""A decoded JSON object."""


_NS_PER_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_LOOKS: Final = 20
_DEPTH: Final = 10_000


class Process(NamedTuple):
    """One line of the process table."""

    pid: int
    parent: int
    group: int
    session: int
    state: str
    """One letter; ``Z`` and ``X`` are dead."""
    start_ticks: int
    """Clock ticks from boot to its start: tells it from a later process with the same pid."""
    threads: int = 1

    @property
    def alive(self) -> bool:
        """Whether it can still do anything: one whose first thread has ended may have others."""
        return self.state not in {"Z", "X"} or self.threads > 1


def process(pid: int) -> Process | None:
    """The process with this pid; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - hot path
            text = file.read()
    except OSError:
        return None
    # The name in parentheses may itself contain spaces and parentheses.
    fields = text[text.rfind(b")") + 2 :].split(None, 20)
    if len(fields) < 20:
        return None
    return Process(
        pid,
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        fields[0].decode(),
        int(fields[19]),
        int(fields[17]),
    )


def ticks_now() -> int:
    """Clock ticks since boot: what a process that starts now has as its ``start_ticks``."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _NS_PER_TICK


def start_ticks(pid: int, earliest: int) -> int:
    """Those of a child, dead or alive, that was started just now; 0 if nobody can know.

    ``earliest`` is :func:`ticks_now` before its start. Opening a file of a process costs as much as
    a tenth of running a short one, so it is done only if a tick has passed meanwhile.
    """
    if ticks_now() == earliest:
        return earliest
    found = process(pid)
    return found.start_ticks if found else 0


def table() -> dict[int, Process]:
    """Every process there is, by pid."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - hot path
    return {one.pid: one for one in found if one is not None}


def own_children() -> list[int] | None:
    """Pids of this (single-threaded) process's children, dead ones too.

    None where the kernel does not keep the list.
    """
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:  # noqa: PTH123 - hot path
            return [int(child) for child in file.read().split()]
    except OSError:
        return None


def child_in_session(session: int) -> int | None:
    """A child of this process in a session; None if there is none."""
    for pid in own_children() or []:
        one = process(pid)
        if one is not None and one.session == session:
            return pid
    return None


def ancestry(pid: int) -> list[Process] | None:
    """A process and those above it, up to the first that has no parent here.

    None if there is no such process, or if processes came and went too quickly to tell. Two looks
    in a row have to agree, so that no pid was given to another process in between.
    """
    before: list[Process] | None = None
    for _ in range(_LOOKS):
        chain: list[Process] = []
        one = process(pid)
        while one is not None and one.alive and len(chain) < _DEPTH:
            chain.append(one)
            if one.parent == 0:
                break
            one = process(one.parent)
        if not chain or chain[-1].parent != 0:
            before = None
            continue
        who = [(one.pid, one.parent, one.start_ticks) for one in chain]
        if before is not None and who == [(one.pid, one.parent, one.start_ticks) for one in before]:
            return chain
        before = chain
    return None


def own_peak() -> int:
    """Most kilobytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def used(usage: resource.struct_rusage, own: int) -> Json:
    """What a child has used that was waited for: the members of ``Usage``.

    ``own`` is :func:`own_peak`, as it was after the child was started.
    """
    return {
        "cpu_user_s": usage.ru_utime,
        "cpu_system_s": usage.ru_stime,
        # A child counts as large as this process until it has become another program.
        "memory_peak_bytes": usage.ru_maxrss * 1024 if usage.ru_maxrss > own else None,
    }


def is_marked(pid: int, attempt_id: str) -> bool:
    """Whether a process was given the environment of this attempt."""
    return attempt_id in marks(pid)


def marks(pid: int) -> list[str]:
    """The attempts that the environment of a process names; mostly one, or none."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:  # noqa: PTH123 - hot path
            environment = file.read()
    except OSError:
        return []
    start = f"{MARK}=".encode()
    return [
        one[len(start) :].decode(errors="replace")
        for one in environment.split(b"\0")
        if one.startswith(start)
    ]


def holds(pid: int, directory: str, pipes: Collection[str] = ()) -> bool:
    """Whether a process works in a directory, or has one of its files, or one of these pipes, as a
    standard stream.
    """
    inside = directory.rstrip("/") + "/"
    for name in ("cwd", "fd/0", "fd/1", "fd/2"):
        try:
            target = os.readlink(f"/proc/{pid}/{name}")  # noqa: PTH115 - hot path
        except OSError:
            continue
        if target.startswith(inside) or target in pipes:
            return True
    return False


def command_line(pid: int) -> str:
    """The command line of a process in one line of text; empty once it is dead."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:  # noqa: PTH123 - hot path
            text = file.read(4096)
    except OSError:
        return ""
    return text.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def boot_id() -> str:
    """Names this run of the kernel; pids and ticks of another one mean nothing."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - no pathlib in the supervisor
            return file.read().strip()
    except OSError:
        return ""
