"""Finding out which cgroups this process may use, and making cgroups in them."""

import contextlib
import os
import time
from typing import Final, NamedTuple

from taskyard.runtimes.processes.attempt_cgroup import AttemptCgroup, CgroupError, CurrentCgroup
from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.tree import Limits

CONTROLLERS: Final = ("cpu", "cpuset", "memory", "pids")
_IDLE_MAX: Final = 64
_DOORS_MAX: Final = 128
"""Cgroups that keep descriptors; far below the usual limit of open files."""

OWN_LEAF: Final = "shepherd"  # kept: those of earlier releases are found by it
"""Name of the supervisor's own cgroup."""


class Hierarchies(NamedTuple):
    """Directories of this process's own cgroups."""

    unified: str | None
    """In the version 2 hierarchy; None if it is not mounted."""
    v1: dict[str, str]
    """In the version 1 hierarchies, by controller."""


class Cgroups:
    """The cgroups of one supervisor: ``…/NAME/OWN_LEAF`` for itself, others beside it for attempts.

    A cgroup that had no limits serves again after the kernel has said that it is empty, because
    making and removing one costs a good part of what spawning a process costs.

    The supervisor has a leaf of its own because a version 2 cgroup that hands controllers to its
    children must not contain processes.
    """

    def __init__(self, name: str, own: Hierarchies) -> None:
        """Set up. Raises ``OSError`` if cgroups cannot be used; then nothing is left behind."""
        if own.unified is None:
            raise FileNotFoundError("the version 2 cgroup hierarchy is not mounted")
        self._origin = own.unified
        self._idle: list[AttemptCgroup] = []
        self._with_doors = 0
        self._waiting: AttemptCgroup | None = None
        """Where the supervisor rests: an empty cgroup, for the next attempt without limits."""
        self._stand = CurrentCgroup(self._rest)
        self._life = time.time_ns()
        self._made = 0
        self._base = f"{own.unified}/{name}"
        _make(self._base)
        if not os.path.exists(self._base + "/cgroup.procs"):  # noqa: PTH110 - no pathlib here
            os.rmdir(self._base)  # noqa: PTH106 - no pathlib in the supervisor
            raise FileNotFoundError("not a cgroup hierarchy")
        self._v2 = self._delegate(own.unified)
        self._v1_bases: dict[str, str] = {}
        self._home: dict[str, int] = {}
        try:
            leaf = f"{self._base}/{OWN_LEAF}"
            _make(leaf)
            self._home["unified"] = os.open(leaf + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._home["unified"], b"0")
            self._prefix = _membership("self").removesuffix(OWN_LEAF)
        except OSError:
            self.close()
            raise
        for controller in CONTROLLERS:
            if controller not in self._v2 and controller in own.v1:
                self._use_v1(controller, own.v1[controller], name)
        with contextlib.suppress(CgroupError):
            self._stand.rest()

    def _delegate(self, parent: str) -> frozenset[str]:
        """Hand the controllers down to the cgroups as far as allowed; which ones arrived."""
        for path in (parent, self._base):
            for controller in CONTROLLERS:
                with contextlib.suppress(OSError):
                    _write(path + "/cgroup.subtree_control", "+" + controller)
        with contextlib.suppress(OSError):
            arrived = _read(self._base + "/cgroup.subtree_control").split()
            return frozenset(arrived) & frozenset(CONTROLLERS)
        return frozenset()

    def _use_v1(self, controller: str, own: str, name: str) -> None:
        base = f"{own}/{name}"
        try:
            _make(base)
            home = os.open(own + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return
        if controller == "cpuset":
            with contextlib.suppress(OSError):
                copy_cpuset(own, base)
        self._v1_bases[controller] = base
        self._home[controller] = home

    @property
    def enforced(self) -> list[str]:
        """Which of ``cpu``, ``cpuset``, ``memory`` and ``pids`` can be limited here."""
        return [name for name in CONTROLLERS if name in self._v2 or name in self._v1_bases]

    def new(self, limits: Limits) -> AttemptCgroup:
        """A cgroup for an attempt, yet to be prepared."""
        if not limits.names():
            if self._waiting is not None:
                cgroup, self._waiting = self._waiting, None
                return cgroup
            if self._idle:
                return self._idle.pop()
        # No later supervisor may meet a cgroup of this one under a name of its own.
        self._made += 1
        name = f"{self._life:x}-{self._made}"
        v1 = {
            controller: f"{self._v1_bases[controller]}/{name}"
            for controller in limits.names()
            if controller in self._v1_bases
        }
        return AttemptCgroup(
            f"{self._base}/{name}", v1, self._home, limits, self._v2, self._stand, self._take_back
        )

    def rest(self) -> None:
        """Leave the cgroup of an attempt, if the supervisor is in one. Raises ``CgroupError``."""
        if self._stand.inside is not self._waiting:
            self._stand.rest()

    def _rest(self) -> AttemptCgroup | None:
        if self._waiting is None:
            self._waiting = self._empty_cgroup()
        if self._waiting is None:
            os.write(self._home["unified"], b"0")
        else:
            self._waiting.enter()
        return self._waiting

    def _empty_cgroup(self) -> AttemptCgroup | None:
        """A cgroup to rest in; None if there can be none."""
        if self._idle:
            return self._idle.pop()
        cgroup = self.new(Limits())
        try:
            cgroup.prepare()
            if self._with_doors < _DOORS_MAX:
                cgroup.open_descriptors()
                self._with_doors += 1
        except OSError:
            cgroup.remove()
            return None
        return cgroup

    def _take_back(self, cgroup: AttemptCgroup) -> bool:
        if len(self._idle) >= _IDLE_MAX or not cgroup.is_pristine():
            return False
        if not cgroup.has_descriptors:
            if self._with_doors >= _DOORS_MAX:
                return False
            try:
                cgroup.open_descriptors()
            except OSError:
                return False
            self._with_doors += 1
        self._idle.append(cgroup)
        return True

    def cgroup_of(self, pid: int) -> str | None:
        """The name of the cgroup that a process is in; None if it is in none of ours, or gone."""
        try:
            path = _membership(pid)
        except OSError:
            return None
        if not path.startswith(self._prefix):
            return None
        return path[len(self._prefix) :].partition("/")[0]

    def found(self, record: Json) -> AttemptCgroup:
        """The cgroup that an earlier supervisor made and recorded."""
        return AttemptCgroup(
            record["unified"], record.get("v1", {}), self._home, Limits(), self._v2, self._stand
        )

    def strays(self, known: set[str]) -> list[AttemptCgroup]:
        """Cgroups with names not in ``known`` that are inhabited; empty ones are removed."""
        inhabited = []
        known = known | {cgroup.name for cgroup in self._idle} | {OWN_LEAF}
        if self._waiting is not None:
            known = known | {self._waiting.name}
        for entry in _subdirectories(self._base):
            if entry in known:
                continue
            v1 = {controller: f"{base}/{entry}" for controller, base in self._v1_bases.items()}
            cgroup = AttemptCgroup(
                f"{self._base}/{entry}", v1, self._home, Limits(), self._v2, self._stand
            )
            if not cgroup.is_empty():
                inhabited.append(cgroup)
            else:
                cgroup.remove()
        return inhabited

    def close(self) -> None:
        """Walk back to where this process came from and remove what is empty."""
        with contextlib.suppress(OSError):
            _write(self._origin + "/cgroup.procs", "0")
        self._stand.inside = None
        for cgroup in (*self._idle, *([self._waiting] if self._waiting is not None else [])):
            cgroup.remove()
        self._idle.clear()
        self._waiting = None
        for fd in self._home.values():
            os.close(fd)
        self._home.clear()
        for path in (f"{self._base}/{OWN_LEAF}", self._base, *self._v1_bases.values()):
            with contextlib.suppress(OSError):
                os.rmdir(path)  # noqa: PTH106 - no pathlib in the supervisor


def own_hierarchies(mountinfo: str, membership: str) -> Hierarchies:
    """Where this process's cgroups are.

    Reads the texts of ``/proc/self/mountinfo`` and ``/proc/self/cgroup``.
    """
    paths: dict[str, str] = {}
    for line in membership.splitlines():
        number, controllers, path = line.split(":", 2)
        for controller in controllers.split(",") if number != "0" else [""]:
            paths[controller] = path
    unified = None
    v1: dict[str, str] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        root, mount = fields[3], fields[4]
        if kind == "cgroup2" and "" in paths:
            unified = unified or _below(mount, root, paths[""])
        elif kind == "cgroup":
            for controller in set(options.split(",")) & set(CONTROLLERS) & set(paths):
                place = _below(mount, root, paths[controller])
                if place is not None:
                    v1.setdefault(controller, place)
    return Hierarchies(unified, v1)


def copy_cpuset(parent: str, child: str) -> None:
    """Allow a version 1 cgroup what its parent may use: a new one may use nothing, and nobody may
    enter it. Raises ``OSError``.
    """
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not _read(f"{child}/{name}").strip():
            _write(f"{child}/{name}", _read(f"{parent}/{name}").strip())


def discover(name: str) -> Cgroups | None:
    """The cgroups this process may use, under ``NAME``; None if it may not use any."""
    try:
        own = own_hierarchies(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
        return Cgroups(name, own)
    except (OSError, ValueError):
        return None


def _membership(pid: int | str) -> str:
    """The version 2 cgroup of a process, as this process sees the hierarchy. Raises ``OSError``."""
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise FileNotFoundError("it is in no version 2 cgroup")


def _below(mount: str, root: str, path: str) -> str | None:
    """Directory of cgroup ``path`` under a mount that shows the hierarchy from ``root`` on."""
    root = root.rstrip("/")
    if path != root and not path.startswith(root + "/"):
        return None
    return (mount + path[len(root) :]).rstrip("/")


def _make(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)  # noqa: PTH102 - no pathlib in the supervisor


def _subdirectories(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir()]


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - no pathlib in the supervisor
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
