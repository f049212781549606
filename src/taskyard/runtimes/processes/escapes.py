"""Holding an attempt together that can leave its cgroup, as whatever runs as our own user can.

Who left is found as without cgroups: the supervisor adopts orphans, so that whoever leaves stays a
descendant of the main process, or becomes a child of the supervisor.
"""

from collections.abc import Callable, Sequence

from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.attempt_cgroup import AttemptCgroup
from taskyard.runtimes.processes.cgroups import Cgroups
from taskyard.runtimes.processes.identity import is_own_user
from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.session import Roster, SessionTree
from taskyard.runtimes.processes.tree import Limits, Tree


class WatchedCgroup:
    """A cgroup, and beside it those who left it."""

    __slots__ = ("_adopted", "_cgroup", "_outside", "_pid", "_roster")
    method = "cgroup"

    def __init__(
        self, cgroup: AttemptCgroup, outside: SessionTree, roster: Roster, *, adopted: bool
    ) -> None:
        """Watch over ``cgroup``; ``outside`` finds who is not in it any more."""
        self._cgroup = cgroup
        self._outside = outside
        self._roster = roster
        self._adopted = adopted
        self._pid = 0

    @property
    def name(self) -> str:
        """The cgroup's."""
        return self._cgroup.name

    def record(self) -> Json:
        """Where the cgroup is; its main process is recorded anyway."""
        return self._cgroup.record()

    def prepare(self) -> None:
        """Make the cgroup. Raises ``OSError``."""
        self._cgroup.prepare()

    def enter(self) -> None:
        """Walk into the cgroup. Raises ``OSError``."""
        self._cgroup.enter()

    def leave(self) -> None:
        """Walk out again. Raises ``OSError``."""
        self._cgroup.leave()

    def spawned(self, pid: int, start_ticks: int) -> None:
        """Remember who the ancestor of all others is."""
        self._pid = pid
        self._outside.spawned(pid, start_ticks)

    def writes_to(self, pipes: Sequence[str]) -> None:
        """Whoever left is known by them."""
        self._outside.writes_to(pipes)

    def limit(self) -> bool:
        """Limit the cgroup. Raises ``OSError``."""
        return self._cgroup.limit()

    def pids(self) -> list[int]:
        """Processes in the cgroup, and those who left."""
        return sorted({*self._cgroup.pids(), *self._outside.pids()})

    def is_empty(self) -> bool:
        """Whether nobody is left, inside or outside."""
        return self._cgroup.is_empty() and (not self._may_be_outside() or self._outside.is_empty())

    def _may_be_outside(self) -> bool:
        """A quick look: with the main process gone, whoever left descends from a child of ours."""
        if self._adopted or self._pid in self._roster.mains:
            return True
        children = proc.own_children()
        return children is None or bool(set(children) - set(self._roster.mains))

    def kill(self) -> int:
        """Kill the cgroup at once, and then those outside it; how many were alive."""
        outside = set(self._outside.pids()) - set(self._cgroup.pids())
        count = self._cgroup.kill() + len(outside)
        # Also when none were seen: those inside may just have been on their way out.
        if self._may_be_outside():
            self._outside.kill()
        return count

    def oom_kills(self) -> int:
        """Of the cgroup."""
        return self._cgroup.oom_kills()

    def memory_peak(self) -> int | None:
        """Of the cgroup."""
        return self._cgroup.memory_peak()

    def close(self) -> bool:
        """Give the cgroup back."""
        return self._cgroup.close()


class Trees:
    """Makes what holds an attempt together, as well as this machine can."""

    def __init__(
        self, cgroups: Cgroups | None, roster: Roster, has_left: Callable[[int], bool]
    ) -> None:
        """Prepare; ``has_left`` says whether a process is in the cgroup of no attempt."""
        self._cgroups = cgroups
        self._roster = roster
        self._has_left = has_left

    def new(self, request: Json) -> Tree:
        """For an attempt that is about to start."""
        if self._cgroups is None:
            return self._session(request, adopted=False)
        cgroup = self._cgroups.new(Limits(*request["limits"]))
        return self._watched(request, cgroup, adopted=False)

    def found(self, request: Json, record: Json) -> Tree:
        """For one that another supervisor began; ``record`` is what its tree had to record."""
        if not record or self._cgroups is None:
            return self._session(request, adopted=True)
        return self._watched(request, self._cgroups.found(record), adopted=True)

    def _session(self, request: Json, *, adopted: bool) -> SessionTree:
        return SessionTree(
            request["attempt_id"],
            request["directory"],
            self._roster,
            adopted=adopted,
            has_left=self._has_left,
        )

    def _watched(self, request: Json, cgroup: AttemptCgroup, *, adopted: bool) -> Tree:
        if request["isolate"] or not is_own_user(request):
            return cgroup
        outside = self._session(request, adopted=adopted)
        return WatchedCgroup(cgroup, outside, self._roster, adopted=adopted)
