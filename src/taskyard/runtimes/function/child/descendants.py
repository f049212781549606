"""Finding, burying and ending what a process has started, however it was forked.

For processes that are subreapers: whoever outlives its parent becomes a child of theirs.
"""

import contextlib
import os
import signal
import time

_PAUSE_S = 0.002
_STRAYS_S = 0.02
"""Not longer at a time: others wait for their processes meanwhile."""


def children() -> list[int]:
    """Pids of this single-threaded process's children, dead ones too. Raises ``OSError``."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(one) for one in file.read().split()]


def descendants(cgroup: str | None) -> set[int]:
    """The living processes in a cgroup, and those that descend from this process."""
    found: set[int] = set()
    if cgroup is not None:
        for path, _, _ in os.walk(cgroup):
            with (
                contextlib.suppress(OSError),
                open(f"{path}/cgroup.procs", encoding="ascii") as file,
            ):
                found.update(int(line) for line in file.read().split())
    above = [os.getpid()]
    while above:
        with contextlib.suppress(OSError, ValueError):
            for pid in _children_of(above.pop()):
                above.append(pid)
                if not _is_dead(pid):
                    found.add(pid)
    return found


def _children_of(pid: int) -> list[int]:
    """By all of its threads. Raises ``OSError`` if it is gone."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
            found += [int(one) for one in file.read().split()]
    return found


def _is_dead(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] in "ZX"


def end_all(cgroup: str | None, within_s: float) -> None:
    """Kill what is in a cgroup, and all descendants; wait until they are gone, or for so long."""
    give_up_at = time.monotonic() + within_s
    while True:
        if cgroup is not None:
            _kill_cgroup(cgroup)
        with contextlib.suppress(OSError):
            for pid in children():
                # The death of each makes its own children ours.
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            if cgroup is None or _is_empty(cgroup):
                return
        if time.monotonic() > give_up_at:
            return
        time.sleep(_PAUSE_S)


def end_strays(kept: set[int]) -> bool:
    """Kill and bury the children that are not these; False if there is not time enough for all.

    They are orphans: what processes left that have ended. Those of living ones are with these,
    as long as they are subreapers, too.
    """
    give_up_at = time.monotonic() + _STRAYS_S
    while True:
        try:
            strays = [pid for pid in children() if pid not in kept]
        except (OSError, ValueError):
            return True
        if not strays:
            return True
        for pid in strays:
            # The death of each makes its own children ours.
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > give_up_at:
            return False
        time.sleep(_PAUSE_S)


def remove_cgroups(paths: list[str]) -> None:
    """Remove cgroups, along with those that were made inside; what is inhabited stays."""
    for path in paths:
        for inner, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(inner)


def _kill_cgroup(path: str) -> None:
    try:
        with open(f"{path}/cgroup.kill", "w", encoding="ascii") as file:
            file.write("1")
    except OSError:
        # Kernels before 5.14, or it is gone.
        with contextlib.suppress(OSError), open(f"{path}/cgroup.procs", encoding="ascii") as file:
            for line in file.read().split():
                os.kill(int(line), signal.SIGKILL)


def _is_empty(path: str) -> bool:
    try:
        with open(f"{path}/cgroup.events", encoding="ascii") as file:
            return "populated 0" in file.read()
    except OSError:
        return True
