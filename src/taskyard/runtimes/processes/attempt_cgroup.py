"""The cgroups of one attempt."""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.tree import Limits

_PERIOD_US: Final = 100_000
_POPULATED: Final = b"populated 1"
_PRISTINE: Final = b"populated 0\nfrozen 0\n"


class CgroupError(Exception):
    """The supervisor cannot leave a cgroup that it entered for a spawn.

    Inside, it would die with the attempt. Better now and without a kill: the next supervisor takes
    over what runs.
    """


class CurrentCgroup:
    """Where in the version 2 hierarchy the supervisor itself is."""

    __slots__ = ("_rest", "inside")

    def __init__(self, rest: Callable[[], "AttemptCgroup | None"]) -> None:
        """Begin outside all cgroups.

        Args:
            rest: walks to where the supervisor rests, and answers with the cgroup that is, if it is
                one. Raises ``OSError``.
        """
        self._rest = rest
        self.inside: AttemptCgroup | None = None

    def out_of(self, cgroup: "AttemptCgroup") -> None:
        """Leave this cgroup, if that is where the supervisor is. Raises :class:`CgroupError`."""
        if self.inside is cgroup:
            self.rest()

    def rest(self) -> None:
        """Leave whatever cgroup it is in. Raises :class:`CgroupError`."""
        try:
            self.inside = self._rest()
        except OSError as error:
            raise CgroupError(str(error)) from error


class AttemptCgroup:
    """One cgroup in each hierarchy that is needed for one attempt.

    Every attempt has one in the version 2 hierarchy, which knows all its processes and kills them
    in one step. Where the controllers are bound to version 1 hierarchies, limits need one more
    there each.
    """

    __slots__ = (
        "_descriptors",
        "_home",
        "_limits",
        "_removed",
        "_stand",
        "_take_back",
        "_unified",
        "_v1",
        "_v2_limits",
        "is_limited",
    )
    method = "cgroup"

    def __init__(
        self,
        unified: str,
        v1: dict[str, str],
        home: dict[str, int],
        limits: Limits,
        v2_limits: frozenset[str],
        stand: CurrentCgroup,
        take_back: Callable[["AttemptCgroup"], bool] | None = None,
    ) -> None:
        self._unified = unified
        """Directory in the version 2 hierarchy."""
        self._v1 = v1
        """Directories in version 1 hierarchies by controller; only those that limit."""
        self._home = home
        """Open ``cgroup.procs`` of the supervisor's own cgroups: ``unified`` and by controller."""
        self._limits = limits
        self.is_limited = bool(limits.names())
        """Whether it was made for limits; such a one serves one attempt only."""
        self._v2_limits = v2_limits
        """Controllers that limit in the version 2 hierarchy."""
        self._stand = stand
        self._take_back = take_back
        self._removed = False
        self._descriptors: tuple[int, int] | None = None
        """Open ``cgroup.procs`` and ``cgroup.events``, of a cgroup that is used again and again."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._unified.rpartition("/")[2]

    @property
    def has_descriptors(self) -> bool:
        """Whether :meth:`open_descriptors` was called."""
        return self._descriptors is not None

    def open_descriptors(self) -> None:
        """Keep open what every attempt in it needs. Raises ``OSError``."""
        procs = os.open(self._unified + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            events = os.open(self._unified + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(procs)
            raise
        self._descriptors = (procs, events)

    def record(self) -> Json:
        """Paths of the cgroups."""
        return {"unified": self._unified, "v1": self._v1}

    def prepare(self) -> None:
        """Make the directories; one that is there already is what a crash left, and empty."""
        if self._descriptors is not None:
            return
        made = []
        try:
            for path in (self._unified, *self._v1.values()):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path)  # noqa: PTH102 - no pathlib in the supervisor
                    made.append(path)
            self._pin()
        except OSError:
            for path in made:
                os.rmdir(path)  # noqa: PTH106 - no pathlib in the supervisor
            raise

    def _pin(self) -> None:
        # Before anybody is inside, so that no instruction runs elsewhere; and in version 1 nobody
        # may enter before it is said which processors and nodes there are.
        cpus, nodes = self._limits.cpus, self._limits.memory_nodes
        if cpus is None:
            return
        if "cpuset" in self._v1 and nodes is None:
            above = self._v1["cpuset"].rpartition("/")[0]
            nodes = _read(above + "/cpuset.mems").decode().strip()
        self._set("cpuset", "cpuset.cpus", "cpuset.cpus", cpus)
        if nodes is not None:
            self._set("cpuset", "cpuset.mems", "cpuset.mems", nodes)

    def enter(self) -> None:
        """Walk into the cgroup, so that a child is born inside and never was anywhere else.

        For a process that moves itself this is much cheaper than any ``preexec_fn``, which would
        make the spawn a full fork.
        """
        if self._stand.inside is self:
            return
        if self._descriptors is not None:
            os.write(self._descriptors[0], b"0")
            self._stand.inside = self
            return
        for path in (self._unified, *self._v1.values()):
            fd = os.open(path + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
                self._stand.inside = self
            finally:
                os.close(fd)

    def leave(self) -> None:
        """Walk out of limits at once; out of the rest when there is time, or need.

        Moving a process costs 9 µs when that was done lately, and more than 10 ms when it was not,
        as the kernel then waits for all processors. Whoever waits for a start does not wait for
        that: the supervisor rests in a cgroup for the next attempt, and leaves it after the spawn.
        """
        for controller in self._v1:
            os.write(self._home[controller], b"0")
        if self.is_limited:
            self._stand.out_of(self)

    def spawned(self, pid: int, start_ticks: int) -> None:
        """Nothing to note: the kernel knows."""

    def writes_to(self, pipes: Sequence[str]) -> None:
        """Nothing to note either."""

    def limit(self) -> bool:
        """Write the limits into the controllers."""
        limits = self._limits
        if limits.pids is not None:
            self._set("pids", "pids.max", "pids.max", str(limits.pids))
        if limits.cpu_millis is not None:
            quota = limits.cpu_millis * (_PERIOD_US // 1000)
            if "cpu" in self._v1:
                _write(self._v1["cpu"] + "/cpu.cfs_period_us", str(_PERIOD_US))
            self._set("cpu", "cpu.cfs_quota_us", "cpu.max", str(quota), f" {_PERIOD_US}")
        return limits.memory_bytes is None or self._limit_memory(limits.memory_bytes)

    def _limit_memory(self, size: int) -> bool:
        v1 = self._v1.get("memory")
        try:
            self._set("memory", "memory.limit_in_bytes", "memory.max", str(size))
            if v1 is not None:
                _write_if_there(v1 + "/memory.memsw.limit_in_bytes", str(size))
            elif "memory" in self._v2_limits:
                _write_if_there(self._unified + "/memory.swap.max", "0")
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
        return True

    def _set(self, controller: str, v1_name: str, v2_name: str, text: str, more: str = "") -> None:
        if controller in self._v1:
            _write(f"{self._v1[controller]}/{v1_name}", text)
        elif controller in self._v2_limits:
            _write(f"{self._unified}/{v2_name}", text + more)

    def pids(self) -> list[int]:
        """Processes alive in the cgroup, and in cgroups that they made inside it."""
        self._stand.out_of(self)
        found: list[int] = []
        if not self._removed:
            for path, _, _ in os.walk(self._unified):
                with contextlib.suppress(OSError):
                    found += [int(line) for line in _read(path + "/cgroup.procs").split()]
        return found

    def is_empty(self) -> bool:
        """Whether the kernel says that nobody lives in the cgroup."""
        return self._removed or _POPULATED not in self._events()

    def is_pristine(self) -> bool:
        """Whether it can serve another attempt."""
        return self._events() == _PRISTINE and not self.is_limited

    def _events(self) -> bytes:
        self._stand.out_of(self)
        try:
            if self._descriptors is not None:
                return os.pread(self._descriptors[1], 256, 0)
            return _read(self._unified + "/cgroup.events")
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENODEV}:
                return b""
            raise

    def kill(self) -> int:
        """Kill the whole cgroup at once, forks under way included."""
        pids = self.pids()
        try:
            _write(self._unified + "/cgroup.kill", "1")
        except FileNotFoundError:
            self._kill_each(pids)
        return len(pids)

    def _kill_each(self, pids: list[int]) -> None:
        # Kernels before 5.14. Frozen processes cannot fork away, and die of SIGKILL all the same.
        with contextlib.suppress(OSError):
            _write(self._unified + "/cgroup.freeze", "1")
            pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def oom_kills(self) -> int:
        """The kernel's own counter, for a cgroup with a memory limit."""
        if "memory" in self._v1:
            return _counter(self._v1["memory"] + "/memory.oom_control", b"oom_kill")
        if "memory" in self._v2_limits:
            return _counter(self._unified + "/memory.events", b"oom_kill")
        return 0

    def memory_peak(self) -> int | None:
        """The controller's high-water mark, for a cgroup with a memory limit."""
        if "memory" in self._v1:
            path = self._v1["memory"] + "/memory.max_usage_in_bytes"
        elif "memory" in self._v2_limits:
            path = self._unified + "/memory.peak"
        else:
            return None
        try:
            return int(_read(path))
        except (OSError, ValueError):
            return None

    def close(self) -> bool:
        """Give it back to serve again, or remove its directories, also when some are gone."""
        if self._take_back is not None and self._take_back(self):
            return True
        return self.remove()

    def remove(self) -> bool:
        """Remove its directories; False while processes are in the way."""
        if self._descriptors is not None:
            for fd in self._descriptors:
                os.close(fd)
            self._descriptors = None
        paths = list(self._v1.values())
        if not self._removed:
            paths.append(self._unified)
        gone = [_remove(path) or _remove_nested(path) for path in paths]
        self._removed = self._removed or all(gone)
        return all(gone)


def _remove(path: str) -> bool:
    try:
        os.rmdir(path)  # noqa: PTH106 - no pathlib in the supervisor
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _remove_nested(path: str) -> bool:
    """Remove a cgroup together with those that its processes made inside it."""
    gone = [_remove(inner) for inner, _, _ in os.walk(path, topdown=False)]
    return all(gone)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while part := os.read(fd, 65536):
            data += part
        return data
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _write_if_there(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        _write(path, text)


def _counter(path: str, name: bytes) -> int:
    try:
        for line in _read(path).splitlines():
            key, _, value = line.partition(b" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        return 0
    return 0
