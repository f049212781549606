"""Holding an attempt together without cgroups: its session, its descendants, its marks."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.proc import Json, Process

_STOP_S: Final = 0.1
_CHASE_S: Final = 0.2
_QUIET_ROUNDS: Final = 3
_SCANS: Final = 4
"""How often the process table is read while processes come and go; then somebody is left."""


class Roster:
    """Who is who among the supervisor's children."""

    __slots__ = ("alive", "mains")

    def __init__(self) -> None:
        self.mains: dict[int, str] = {}
        """Attempt ids by pid of the main processes it spawned and has not waited for."""
        self.alive: set[str] = set()
        """Attempts whose trees may have processes."""


class SessionTree:
    """Finds the processes of an attempt by what ties them to it.

    Those are: the session it began, descent from a member, the attempt's id in the environment, a
    working directory or standard stream in the attempt's directory, a standard stream that is one
    of its pipes. The supervisor is a subreaper, so an orphan of any attempt is its child. An orphan
    that bears no mark at all belongs to the last attempt that is left of those that may have begot
    it, and is killed with that one. Where attempts have cgroups, one that has left them all as well
    is killed with the first.
    """

    __slots__ = (
        *("_adopted", "_attempt_id", "_directory", "_has_left", "_pid", "_pipes", "_roster"),
        *("_seen", "_ticks"),
    )
    method = "session"

    def __init__(
        self,
        attempt_id: str,
        directory: str,
        roster: Roster,
        *,
        adopted: bool,
        has_left: Callable[[int], bool] = lambda _pid: False,
    ) -> None:
        self._attempt_id = attempt_id
        self._directory = directory
        self._roster = roster
        self._adopted = adopted
        """Whether another supervisor spawned it: then its orphans are not our children."""
        self._has_left = has_left
        """Whether a process is outside the cgroups of all attempts; never, where they have none."""
        self._pipes: frozenset[str] = frozenset()
        self._pid = 0
        self._ticks = 0
        self._seen: dict[int, int] = {}
        """Start times of members that were found once, by pid: once tied, always tied."""

    @property
    def name(self) -> str:
        """The attempt's id."""
        return self._attempt_id

    def record(self) -> Json:
        """Nothing: the main process is recorded anyway."""
        return {}

    def prepare(self) -> None:
        """Nothing to do."""

    def enter(self) -> None:
        """Nothing to do."""

    def leave(self) -> None:
        """Nothing to do."""

    def spawned(self, pid: int, start_ticks: int) -> None:
        """Remember the leader of the session."""
        self._pid = pid
        self._ticks = start_ticks

    def writes_to(self, pipes: Sequence[str]) -> None:
        """Whoever has one of these as a standard stream is a member."""
        self._pipes = frozenset(pipes)

    def limit(self) -> bool:
        """There is nothing that could limit the tree."""
        return True

    def pids(self) -> list[int]:
        """Processes alive that are tied to the attempt."""
        return [member.pid for member in self._members()]

    def is_empty(self) -> bool:
        """Whether nobody is left; cheap when the supervisor has no children it does not know."""
        if not self._adopted and self._pid not in self._roster.mains:
            # The main process is gone, so whatever it left behind is our child by now.
            children = proc.own_children()
            if children is not None and not set(children) - set(self._roster.mains):
                return True
        for _ in range(_SCANS):
            children = proc.own_children()
            if self._members():
                return False
            # A process that died while the table was read may have left a child that the table
            # does not have; such a child became ours before its parent was seen dead.
            if self._adopted or proc.own_children() == children:
                return True
        return False

    def kill(self) -> int:
        """Stop all members, kill them, and chase what forked away meanwhile."""
        stopped: set[int] = set()
        groups: set[int] = set()
        give_up_at = time.monotonic() + _STOP_S
        while True:
            new = [one for one in self._members() if one.pid not in stopped]
            for one in new:
                # Stopped and not killed at once: a dead parent ties nobody to this tree.
                _signal(one.pid, signal.SIGSTOP)
                stopped.add(one.pid)
                if one.session == self._pid:
                    groups.add(one.group)
            if not new or time.monotonic() > give_up_at:
                break
        for group in groups:
            # In one step for all, so that nobody in the group forks away.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        if not self._adopted:
            self._chase()
        return len(stopped)

    def _chase(self) -> None:
        """Kill orphans the moment they become our children.

        Catches chains in which every process forks the next one and exits, quicker than the
        process table can be read.
        """
        give_up_at = time.monotonic() + _CHASE_S
        quiet = 0
        while quiet < _QUIET_ROUNDS and time.monotonic() < give_up_at:
            quiet += 1
            for pid in proc.own_children() or []:
                if pid not in self._roster.mains and not _bury(pid) and self._is_mine(pid):
                    _signal(pid, signal.SIGKILL)
                    quiet = 0

    def _is_mine(self, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return (
                (self._pid != 0 and os.getsid(pid) == self._pid)
                or proc.is_marked(pid, self._attempt_id)
                or proc.holds(pid, self._directory, self._pipes)
                or self._has_escaped(pid)
            )
        return False

    def _has_escaped(self, pid: int) -> bool:
        """Whether a child left all cgroups and nothing ties it to another attempt."""
        return self._has_left(pid) and not self._roster.alive.intersection(proc.marks(pid))

    def _members(self) -> list[Process]:
        table = proc.table()
        mains = self._roster.mains
        members = {one.pid for one in table.values() if self._is_tied(one, table)}
        grown = True
        while grown:
            born = {
                one.pid
                for one in table.values()
                if one.parent in members and one.pid not in members and one.pid not in mains
            }
            members |= born
            grown = bool(born)
        found = [table[pid] for pid in sorted(members) if table[pid].alive]
        self._seen = {one.pid: one.start_ticks for one in found}
        return found

    def _is_tied(self, one: Process, table: dict[int, Process]) -> bool:
        owner = self._roster.mains.get(one.pid)
        if owner is not None:
            return owner == self._attempt_id
        if self._seen.get(one.pid) == one.start_ticks:
            return True
        if self._pid and one.session == self._pid:
            # A session of another process that got the same pid later is not ours.
            leader = table.get(self._pid)
            return leader is None or leader.start_ticks == self._ticks
        if one.start_ticks < self._ticks or one.pid == os.getpid() or not one.alive:
            return False
        if not self._adopted and one.parent != os.getpid():
            return False
        return (
            proc.is_marked(one.pid, self._attempt_id)
            or proc.holds(one.pid, self._directory, self._pipes)
            or (
                not self._adopted
                and (self._roster.alive <= {self._attempt_id} or self._has_escaped(one.pid))
            )
        )

    def oom_kills(self) -> int:
        """Nobody counts."""
        return 0

    def memory_peak(self) -> int | None:
        """Nobody counts."""
        return None

    def close(self) -> bool:
        """Nothing is held."""
        return True


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _bury(pid: int) -> bool:
    """Wait for a child if it is dead; whether it was."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
