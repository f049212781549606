"""What holds an instance together: cgroups if possible, otherwise session and descendants."""

import contextlib
import os
import signal
import time
from typing import Final, Protocol

from taskyard.core.attempts import Survivor
from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.attempt_cgroup import AttemptCgroup, CurrentCgroup
from taskyard.runtimes.processes.cgroups import CONTROLLERS, own_hierarchies
from taskyard.runtimes.processes.tree import Limits

_STOP_S: Final = 0.2
_EMPTY_S: Final = 5.0
_PAUSE_S: Final = 0.002


class Tree(Protocol):
    """The processes of one instance."""

    method: str

    def doors(self) -> list[str]:
        """Files into which a process writes 0 to belong to the tree."""
        ...

    def spawned(self, pid: int) -> None:
        """The first process is there."""
        ...

    def pids(self) -> list[int]:
        """Who is alive. Blocks for a moment."""
        ...

    def kill(self) -> int:
        """Kill everybody; answers how many were alive. Blocks for a moment."""
        ...

    def survivors(self) -> list[Survivor]:
        """Who is left; waits for the dying. Blocks."""
        ...

    def oom_kills(self) -> int:
        """How often the kernel killed for want of memory."""
        ...

    def remove(self) -> None:
        """Give back what the tree held."""
        ...


class CgroupTree:
    """A tree in cgroups of its own."""

    method = "cgroup"

    def __init__(self, cgroup: AttemptCgroup) -> None:
        self._attempt_cgroup = cgroup

    def doors(self) -> list[str]:
        """See the protocol."""
        record = self._attempt_cgroup.record()
        return [f"{path}/cgroup.procs" for path in (record["unified"], *record["v1"].values())]

    def spawned(self, pid: int) -> None:
        """See the protocol. The kernel knows."""

    def pids(self) -> list[int]:
        """See the protocol."""
        return self._attempt_cgroup.pids()

    def kill(self) -> int:
        """See the protocol."""
        if self._attempt_cgroup.is_empty():
            return 0
        try:
            return self._attempt_cgroup.kill()
        except FileNotFoundError:
            return 0

    def survivors(self) -> list[Survivor]:
        """See the protocol."""
        give_up_at = time.monotonic() + _EMPTY_S
        while not self._attempt_cgroup.is_empty():
            if time.monotonic() > give_up_at:
                return [
                    Survivor(pid, proc.command_line(pid)) for pid in self._attempt_cgroup.pids()
                ]
            time.sleep(_PAUSE_S)
        return []

    def oom_kills(self) -> int:
        """See the protocol."""
        return self._attempt_cgroup.oom_kills()

    def remove(self) -> None:
        """See the protocol."""
        self._attempt_cgroup.remove()


class InstanceProcesses:
    """A tree found through ``/proc``: a session and all descendants of its leader.

    The leader is a subreaper: whoever leaves the session stays its descendant.
    """

    method = "session"

    def __init__(self) -> None:
        self._pid = 0
        self._known: dict[int, int] = {}

    def doors(self) -> list[str]:
        """See the protocol. There are none."""
        return []

    def spawned(self, pid: int) -> None:
        """See the protocol."""
        self._pid = pid

    def pids(self) -> list[int]:
        """See the protocol."""
        return [one.pid for one in self._instances()]

    def kill(self) -> int:
        """See the protocol. All are stopped first, so that nobody escapes by forking."""
        give_up_at = time.monotonic() + _STOP_S
        stopped: set[int] = set()
        while True:
            new = [one for one in self._instances() if one.pid not in stopped]
            for one in new:
                _signal(one.pid, signal.SIGSTOP)
                stopped.add(one.pid)
                self._known[one.pid] = one.start_ticks
            if not new or time.monotonic() > give_up_at:
                break
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        return len(stopped)

    def survivors(self) -> list[Survivor]:
        """See the protocol."""
        give_up_at = time.monotonic() + _EMPTY_S
        while left := self._instances():
            if time.monotonic() > give_up_at:
                return [Survivor(one.pid, proc.command_line(one.pid)) for one in left]
            time.sleep(_PAUSE_S)
            self.kill()
        return []

    def oom_kills(self) -> int:
        """See the protocol. Nobody counts."""
        return 0

    def remove(self) -> None:
        """See the protocol. Nothing is held."""

    def _instances(self) -> list[proc.Process]:
        if not self._pid:
            return []
        table = proc.table()
        instances = {
            one.pid
            for one in table.values()
            if self._pid in {one.session, one.pid} or self._known.get(one.pid) == one.start_ticks
        }
        grown = True
        while grown:
            born = {one.pid for one in table.values() if one.parent in instances} - instances
            instances |= born
            grown = bool(born)
        return [table[pid] for pid in sorted(instances) if table[pid].alive]


class ProcessTrees:
    """Makes trees. Found out once for each worker what this machine allows.

    Args:
        name: of the cgroup below which everything is; one for each data directory.
        use_cgroups: False relies on sessions alone, as happens by itself without cgroups.
    """

    def __init__(self, name: str, *, use_cgroups: bool = True) -> None:
        self.base: str | None = None
        """Directory of the cgroup that holds all others; None without cgroups."""
        self._v1: dict[str, str] = {}
        self._v2: frozenset[str] = frozenset()
        self._count = 0
        self._life = time.time_ns()
        if use_cgroups:
            with contextlib.suppress(OSError, ValueError):
                self._prepare(name)

    @property
    def bases(self) -> list[str]:
        """Directories of the cgroups that hold all others, one in each hierarchy."""
        return [] if self.base is None else [self.base, *self._v1.values()]

    @property
    def limits_memory(self) -> bool:
        """Whether a memory limit is kept by the kernel for a whole tree."""
        return "memory" in self._v1 or "memory" in self._v2

    def new(
        self,
        memory_bytes: int | None,
        cpu_millis: int | None,
        pids: int | None,
        *,
        shares_cpu: bool = False,
    ) -> Tree:
        """A tree with these limits, as far as the machine can enforce them. Raises ``OSError``.

        One that ``shares_cpu`` counts as one where others want processors, too, however many
        processes it has; each that has a limit does.
        """
        if self.base is None:
            return InstanceProcesses()
        limits = Limits(cpu_millis=cpu_millis, memory_bytes=memory_bytes, pids=pids)
        self._count += 1
        name = f"{self._life:x}-{self._count}"
        v1 = {
            controller: f"{self._v1[controller]}/{name}"
            for controller in {*limits.names(), *(["cpu"] if shares_cpu else [])}
            if controller in self._v1
        }
        stand = CurrentCgroup(lambda: None)
        cgroup = AttemptCgroup(f"{self.base}/{name}", v1, {}, limits, self._v2, stand)
        cgroup.prepare()
        cgroup.limit()
        return CgroupTree(cgroup)

    def sweep(self) -> None:
        """Kill and remove whatever is in the cgroups. Blocks until it is gone, or for a while."""
        if self.base is None:
            return
        with contextlib.suppress(OSError):
            _write(f"{self.base}/cgroup.kill", "1")
        give_up_at = time.monotonic() + _EMPTY_S
        for top in (self.base, *self._v1.values()):
            for path, _, _ in os.walk(top, topdown=False):
                while path != top and time.monotonic() < give_up_at:
                    try:
                        os.rmdir(path)  # noqa: PTH106 - a cgroup
                    except FileNotFoundError:
                        break
                    except OSError:
                        time.sleep(_PAUSE_S)
                    else:
                        break

    def close(self) -> None:
        """Remove the cgroups themselves, if they are empty."""
        for path in (self.base, *self._v1.values()):
            if path is not None:
                with contextlib.suppress(OSError):
                    os.rmdir(path)  # noqa: PTH106 - a cgroup

    def _prepare(self, name: str) -> None:
        own = own_hierarchies(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
        if own.unified is None:
            return
        base = f"{own.unified}/{name}"
        os.makedirs(base, exist_ok=True)  # noqa: PTH103 - a cgroup
        if not os.access(f"{base}/cgroup.procs", os.W_OK):
            return
        for path in (own.unified, base):
            for controller in CONTROLLERS:
                with contextlib.suppress(OSError):
                    _write(f"{path}/cgroup.subtree_control", f"+{controller}")
        self._v2 = frozenset(_read(f"{base}/cgroup.subtree_control").split()) & set(CONTROLLERS)
        for controller in CONTROLLERS:
            if controller in own.v1 and controller not in self._v2:
                with contextlib.suppress(OSError):
                    path = f"{own.v1[controller]}/{name}"
                    os.makedirs(path, exist_ok=True)  # noqa: PTH103 - a cgroup
                    self._v1[controller] = path
        self.base = base


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a file of the kernel
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - a file of the kernel
        file.write(text)
