"""One attempt under a supervisor: from its spawn to the proof that nothing of it is left."""

import os
import signal
import time
from typing import Final

from taskyard.core.signals import signal_name, signal_number
from taskyard.runtimes.command import journal
from taskyard.runtimes.command.output import Output
from taskyard.runtimes.command.timers import Timer
from taskyard.runtimes.processes import proc, terminating
from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.tree import Tree

_GIVE_UP_S: Final = 5.0
"""How long to go on killing before whatever is left is listed as survivors."""
_DRAIN_S: Final = 0.5
"""How long a process may take to read on after those are gone whose output it reads."""
_SETTLE_S: Final = 0.5
"""How long a sandbox may take to end by itself after its main process. Nothing in it can stay."""
_PAUSE_MIN_S: Final = 0.0005
_PAUSE_MAX_S: Final = 0.02
_PAUSE_IN_GRACE_S: Final = 0.1


class Kill:
    """A kill under way."""

    __slots__ = (
        "cause",
        "count",
        "force_at",
        "forced",
        "give_up_at",
        "pause_s",
        "requested_at",
        "signal",
        "waiting",
    )

    def __init__(self, cause: str, signal_name: str | None, force_at: float) -> None:
        self.cause = cause
        """``killed`` (asked for), ``timeout``, or ``leftovers`` (the main process had ended)."""
        self.signal = signal_name
        self.force_at = force_at
        """When to stop being polite, on the monotonic clock."""
        self.requested_at = wall_now()
        self.forced = False
        self.waiting: dict[int, float] = {}
        """Processes that get the signal later, because they read what others of the tree write;
        with the time when that was last so."""
        self.count = 0
        self.give_up_at = 0.0
        self.pause_s = _PAUSE_MIN_S


class SupervisedProcess:
    """A running attempt. It is asked to look around by :meth:`advance`, and says when next."""

    __slots__ = (
        "_isolated",
        "_settles_until",
        "_status",
        "_usage",
        "attempt_id",
        "awaits_first",
        "claim",
        "confinement",
        "directory",
        "exited",
        "handle",
        "kill",
        "message",
        "output",
        "over",
        "pid",
        "reason",
        "started_at",
        "timeout",
        "timeout_s",
        "timer",
        "tree",
    )

    def __init__(self, attempt_id: str, directory: str, tree: Tree, output: Output) -> None:
        self.attempt_id = attempt_id
        self.directory = directory
        self.tree = tree
        self.output = output
        self.pid = 0
        """0 until the main process was spawned."""
        self.started_at: int | None = None
        """Microseconds since the epoch."""
        self.handle: Json = {}
        self.confinement: Json | None = None
        """As whom and how limited it runs."""
        self.claim: journal.Claim | None = None
        """The record of its life, if it was started here."""
        self.exited = False
        """Whether the main process is gone."""
        self.over = False
        """Whether :meth:`ended` may be asked."""
        self.kill: Kill | None = None
        self.timer: Timer | None = None
        """The next look around."""
        self.timeout: Timer | None = None
        self.timeout_s: float | None = None
        self.reason: str | None = None
        """Why it could not be started, or ``out_of_memory`` if that was seen in another way."""
        self.message: str | None = None
        self._status: int | None = None
        self._usage: Json = {}
        self._isolated = False
        self._settles_until: float | None = None
        self.awaits_first = False
        """Whether the first process in its sandbox has not been waited for, which knows what those
        inside have used."""

    @property
    def is_sandboxed(self) -> bool:
        """Whether the main process is bubblewrap."""
        return self._isolated

    def spawned(self, pid: int, start_ticks: int, started_at: int, *, isolated: bool) -> None:
        """The main process runs (or ran, when an earlier supervisor spawned it)."""
        self.pid = pid
        self.started_at = started_at
        self._isolated = isolated
        self.tree.spawned(pid, start_ticks)

    def main_exited(self, status: int | None, usage: Json) -> None:
        """The main process is gone; with its wait status, or None if nobody can know it."""
        self.exited = True
        self._status = status
        self._usage = usage

    def first_exited(self, usage: Json) -> None:
        """The first process in its sandbox is gone, after the main process."""
        self.awaits_first = False
        for name in ("cpu_user_s", "cpu_system_s"):
            self._usage[name] = self._usage.get(name, 0.0) + usage[name]
        self._usage["memory_peak_bytes"] = usage["memory_peak_bytes"]

    def order(self, cause: str, signal_wanted: str, grace_s: float, now: float) -> None:
        """Begin a kill, or shorten the grace of one under way."""
        polite = signal_wanted != "SIGKILL" and grace_s > 0
        force_at = now + grace_s if polite else now
        if self.kill is None:
            self.kill = Kill(cause, signal_wanted if polite else None, force_at)
        else:
            if self.kill.cause == "leftovers":
                return
            self.kill.force_at = min(self.kill.force_at, force_at)
        if polite and not self.kill.forced:
            self._ask_to_end(self.kill, signal_wanted, now)

    def _ask_to_end(self, kill: Kill, name: str, now: float) -> None:
        pids = self._asked()
        kill.waiting = dict.fromkeys(terminating.readers(pids), now)
        first = [pid for pid in pids if pid not in kill.waiting]
        terminating.ask_to_end(first, signal_number(name) or signal.SIGTERM)

    def _ask_waiting(self, kill: Kill, name: str, now: float) -> None:
        """Ask those whose input has come to its end, and who did not end by themselves."""
        pids = self._asked()
        readers = terminating.readers(pids)
        kill.waiting = {
            pid: now if pid in readers else since
            for pid, since in kill.waiting.items()
            if pid in pids
        }
        due = [pid for pid, since in kill.waiting.items() if now - since >= _DRAIN_S]
        terminating.ask_to_end(due, signal_number(name) or signal.SIGTERM)
        for pid in due:
            del kill.waiting[pid]

    def _asked(self) -> list[int]:
        pids = self.tree.pids()
        # bubblewrap itself would die of a signal at once and take the command's grace away.
        return [pid for pid in pids if pid != self.pid] if self._isolated else pids

    def advance(self, now: float) -> float | None:
        """Do what is due, and set ``over`` when nothing is left.

        Also over is an attempt whose processes have outlived every try to kill them. Answers when
        to look again; None when only an exit can change anything.
        """
        kill = self.kill
        if self.exited:
            if self.tree.is_empty() and not (self.awaits_first and self._settles(now)):
                self.over = True
                return None
            if kill is None and self._settles(now):
                return now + _PAUSE_MIN_S
            kill = self.kill = kill or Kill("leftovers", None, now)
        if kill is None:
            return None
        if kill.forced and now >= kill.give_up_at:
            self.over = True
            return None
        if now >= kill.force_at:
            alive = self.tree.kill()
            if not kill.forced:
                kill.forced = True
                kill.count = alive
                kill.give_up_at = now + _GIVE_UP_S
        else:
            if kill.waiting and kill.signal is not None:
                self._ask_waiting(kill, kill.signal, now)
            if not self.exited and not kill.waiting:
                return kill.force_at
        # By hand: the bound changes on the way, and this process loads nothing of the core.
        longest_s = _PAUSE_MAX_S if kill.forced or kill.waiting else _PAUSE_IN_GRACE_S
        kill.pause_s = min(kill.pause_s * 2, longest_s)
        again_at = now + kill.pause_s
        return again_at if kill.forced else min(again_at, kill.force_at)

    def _settles(self, now: float) -> bool:
        """Whether the first process of a sandbox, which ends after the main one, may be left."""
        if self._settles_until is None:
            self._settles_until = now + _SETTLE_S
        return self._isolated and now < self._settles_until

    def started(self) -> Json:
        """The event that it began."""
        begun = {"attempt_id": self.attempt_id, "at": self.started_at, "handle": self.handle}
        return {"event": "started", **begun}

    def ended(self) -> Json:
        """How it ended: the members of ``Ended``, without ids."""
        state, reason, message = self._outcome()
        code = _exit_code(self._status)
        peak = self.tree.memory_peak()
        usage = self._usage if peak is None else self._usage | {"memory_peak_bytes": peak}
        return {
            "at": wall_now(),
            "started_at": self.started_at,
            "state": state,
            "reason": reason,
            "message": message,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": signal_name(-code) if code is not None and code < 0 else None,
            "kill_report": self._kill_report(),
            "usage": usage or None,
            "confinement": self.confinement,
            **self.output.finish(),
        }

    def record_end(self, ended: bytes) -> None:
        """Note how it ended. Raises ``OSError``."""
        claim, self.claim = self.claim, None
        if claim is None:
            journal.add_end(self.directory, ended)
            return
        try:
            claim.end(ended)
        finally:
            claim.close()

    def _outcome(self) -> tuple[str, str | None, str | None]:
        code = _exit_code(self._status)
        cause = self.kill.cause if self.kill else None
        if self.reason == "runtime_trouble":
            return "failed", self.reason, self.message
        if cause == "killed":
            return "killed", "killed", "killed on request"
        if cause == "timeout":
            return "failed", "timeout", f"ran longer than its limit of {self.timeout_s:g} s"
        if self.reason is not None:
            return "failed", self.reason, self.message
        if code == 0:
            return "succeeded", None, None
        if self.tree.oom_kills():
            return "failed", "out_of_memory", "needed more memory than its limit"
        if code is None:
            return "lost", "exit_unknown", "ended while nobody was there to see its exit code"
        if code > 0:
            return "failed", "exit_code", f"exited with code {code}"
        return "failed", "signal", f"died of {signal_name(-code)}"

    def _kill_report(self) -> Json | None:
        kill = self.kill
        if kill is None:
            return None
        survivors = self.tree.pids()
        return {
            "requested_at": kill.requested_at,
            "done_at": wall_now(),
            "signal": kill.signal,
            "forced": kill.forced,
            "method": self.tree.method,
            "killed_count": kill.count,
            "survivors": [{"pid": pid, "command": proc.command_line(pid)} for pid in survivors],
        }


def wall_now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def _exit_code(status: int | None) -> int | None:
    return None if status is None else os.waitstatus_to_exitcode(status)
