"""All attempts in the care of one shepherd, and what can be asked about them."""

import os
import selectors
import time
from collections.abc import Callable
from typing import Final

from taskyard.runtimes.command import journal
from taskyard.runtimes.command.confining import check_strict, confinement
from taskyard.runtimes.command.log import complain
from taskyard.runtimes.command.output import Output
from taskyard.runtimes.command.spawning import spawn
from taskyard.runtimes.command.supervised_process import Ward, wall_now
from taskyard.runtimes.command.timers import Timers
from taskyard.runtimes.output import meta
from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.attempt_cgroup import Cage, LostInCage
from taskyard.runtimes.processes.cgroups import Cgroups
from taskyard.runtimes.processes.escapes import Trees
from taskyard.runtimes.processes.identity import SpawnFailed, identity_of
from taskyard.runtimes.processes.pinning import pinned
from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.session import Roster
from taskyard.runtimes.processes.tree import Limits, Tree

_OUTPUT_EVERY_S: Final = 0.25
_OUTPUT_IN_NEED_S: Final = 0.05
"""The same while the disk is nearly full."""
_LOOK_EVERY_S: Final = 0.05
_CLEAR_S: Final = 5.0


class Herd:
    """Starts, adopts, kills and lets go of attempts; announces ``started`` and ``ended``."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        timers: Timers,
        cgroups: Cgroups | None,
        announce: Callable[[Json], None],
    ) -> None:
        self._selector = selector
        self._timers = timers
        self._cgroups = cgroups
        self._announce = announce
        self._boot_id = proc.boot_id()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._wards: dict[str, Ward] = {}
        self._by_pid: dict[int, Ward] = {}
        self._firsts: dict[int, Ward] = {}
        """By the first process of a sandbox, which becomes ours when the one outside has ended."""
        self._roster = Roster()
        self._trees = Trees(cgroups, self._roster, self._has_left)
        self._ended: dict[str, Json] = {}
        """What was announced of attempts that nobody released yet."""
        self._looks_at_output = False
        if cgroups is not None:
            cgroups.strays(set())

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is running."""
        return not self._wards

    def items(self) -> list[Json]:
        """Every attempt held, running or ended."""
        running = [
            {"attempt_id": ward.attempt_id, "state": "running", "handle": ward.handle}
            for ward in self._wards.values()
        ]
        ended = [{"attempt_id": key, "state": "ended"} for key in self._ended]
        return running + ended

    def start(self, request: Json) -> None:
        """Begin an attempt, unless it was begun before: then it is adopted."""
        attempt_id: str = request["attempt_id"]
        directory: str = request["directory"]
        if attempt_id in self._wards or attempt_id in self._ended:
            self._repeat(attempt_id)
            return
        tree = self._trees.new(request)
        intent = {"tree": tree.record(), "boot_id": self._boot_id}
        try:
            claim = journal.claim(directory, intent)
        except OSError as error:
            self._never_ran(request, f"nothing can be written for it: {error.strerror}")
            return
        if claim is None:
            self.adopt(request)
            return
        try:
            self._begin(request, tree, claim)
        finally:
            claim.close()

    def _has_left(self, pid: int) -> bool:
        """Whether a process is in the cage of no attempt, where attempts have cages."""
        if self._cgroups is None:
            return False
        cage = self._cgroups.cage_of(pid)
        return cage is None or all(ward.tree.name != cage for ward in self._wards.values())

    def _begin(self, request: Json, tree: Tree, claim: journal.Claim) -> None:
        ward = self._take_in(request, tree, request["log_limit_bytes"])
        output = ward.output
        try:
            check_strict(request, ward.confinement)
            meta.write_meta(ward.directory, request["log_limit_bytes"])
            tree.prepare()
            with output.opened(identity_of(request), merge=request["merge_output"]) as ends:
                pid = self._spawn_inside(tree, request, ends)
        except (SpawnFailed, OSError) as error:
            trouble = not isinstance(error, SpawnFailed) or error.trouble
            ward.reason = "runtime_trouble" if trouble else "start_failed"
            ward.message = str(error)
            ward.main_exited(None, {})
            self._advance(ward)
            return
        facts = proc.process(pid)
        pipes = output.pipes
        tree.writes_to(pipes)
        ward.born(pid, facts.start_ticks if facts else 0, wall_now(), isolated=request["isolate"])
        self._by_pid[pid] = ward
        self._roster.mains[pid] = ward.attempt_id
        self._limit(ward)
        ward.handle = {
            "pid": pid,
            "start_ticks": facts.start_ticks if facts else 0,
            "boot_id": self._boot_id,
            "method": tree.method,
            "tree": tree.record(),
            "confinement": ward.confinement,
        }
        known = {
            "pid": pid,
            "start_ticks": ward.handle["start_ticks"],
            "started_at": ward.started_at,
            "isolate": request["isolate"],
            "pipes": pipes,
        }
        try:
            claim.add(known)
        except OSError as error:
            complain(f"attempt {ward.attempt_id}: its pid cannot be recorded: {error}")
        self._set_timeout(ward, request, 0.0)
        self._started(ward)

    def _spawn_inside(self, tree: Tree, request: Json, ends: tuple[int, int]) -> int:
        cpus = Limits(*request["limits"]).cpus
        if self._cgroups is not None and "cpuset" in self._cgroups.enforced:
            cpus = None  # The cage sees to it, and what is inside cannot get around that.
        try:
            tree.enter()
            with pinned(cpus):
                return spawn(request, self._null, ends)
        finally:
            try:
                tree.leave()
            except OSError as error:
                raise LostInCage(str(error)) from error

    def _take_in(self, request: Json, tree: Tree, limit_bytes: int) -> Ward:
        output = Output(request["directory"], limit_bytes, self._selector, self._timers, self._null)
        ward = Ward(request["attempt_id"], request["directory"], tree, output)
        enforced = () if self._cgroups is None else self._cgroups.enforced
        ward.confinement = confinement(request, enforced)
        self._wards[ward.attempt_id] = ward
        self._roster.alive.add(ward.attempt_id)
        if not self._looks_at_output:
            self._looks_at_output = True
            self._timers.at(time.monotonic() + _OUTPUT_EVERY_S, self._look_at_output)
        return ward

    def _limit(self, ward: Ward) -> None:
        try:
            within = ward.tree.limit()
        except OSError as error:
            ward.reason = "runtime_trouble"
            ward.message = f"its limits cannot be set: {error.strerror}"
        else:
            if within:
                return
            ward.reason = "out_of_memory"
            ward.message = "needed more memory than its limit as soon as it started"
        self._kill(ward, "limit", "SIGKILL", 0.0)

    def _set_timeout(self, ward: Ward, request: Json, passed_s: float) -> None:
        timeout_s: float | None = request["timeout_s"]
        if timeout_s is not None:
            signal_name, grace_s = request["kill_signal"], request["kill_grace_s"]
            ward.timeout_s = timeout_s
            ward.timeout = self._timers.at(
                time.monotonic() + max(0.0, timeout_s - passed_s),
                lambda: self._kill(ward, "timeout", signal_name, grace_s),
            )

    def adopt(self, request: Json) -> None:
        """Take over an attempt that may have been begun before, here or by an earlier shepherd."""
        attempt_id: str = request["attempt_id"]
        directory: str = request["directory"]
        if attempt_id in self._wards or attempt_id in self._ended:
            self._repeat(attempt_id)
            return
        record = journal.read(directory)
        if record is not None and "ended" in record:
            self._end(attempt_id, record["ended"])
        elif record is not None:
            self._adopt_orphan(request, record)
        elif request["begun"]:
            message = "it was begun, but nothing is left that says what became of it"
            self._never_ran(request, message, reason="exit_unknown")
        elif not request["startable"]:
            self._never_ran(request, "it was never begun, and its secrets are not at hand")
        else:
            self.start(request)

    def _adopt_orphan(self, request: Json, start: Json) -> None:
        directory = request["directory"]
        if start.get("boot_id") != self._boot_id:
            # Its pid and cgroup may be somebody else's by now.
            message = "the machine was restarted while it ran"
            self._never_ran(request, message, reason="exit_unknown")
            return
        tree = self._trees.found(request, start["tree"])
        # It is lower than what was asked for where the disk was nearly full before.
        limit, dropped = meta.read_meta(directory, request["log_limit_bytes"])
        ward = self._take_in(request, tree, limit)
        pid, ticks = start.get("pid", 0), start.get("start_ticks", 0)
        if pid:
            tree.writes_to(start.get("pipes", []))
            ward.born(pid, ticks, start["started_at"], isolated=start["isolate"])
            ward.output.resume(start.get("pipes", []), tree.pids(), dropped)
        main = proc.process(pid) if pid else None
        if main is None or main.start_ticks != ticks or not main.alive:
            ward.main_exited(None, {})
            self._advance(ward)
            return
        ward.handle = {
            "pid": pid,
            "start_ticks": ticks,
            "boot_id": self._boot_id,
            "method": tree.method,
            "tree": start["tree"],
            "confinement": ward.confinement,
        }
        self._watch(ward)
        passed_s = max(0.0, (wall_now() - start["started_at"]) / 1e6)
        self._set_timeout(ward, request, passed_s)
        self._started(ward)

    def _watch(self, ward: Ward) -> None:
        """Notice the end of a process that is not our child."""
        try:
            fd = os.pidfd_open(ward.pid)
        except OSError:
            # It is gone, or the kernel is older than 5.3.
            self._watch_by_looking(ward)
            return

        def gone(_events: int) -> None:
            self._selector.unregister(fd)
            os.close(fd)
            ward.main_exited(None, {})
            if not ward.over:
                self._advance(ward)

        self._selector.register(fd, selectors.EVENT_READ, gone)

    def _watch_by_looking(self, ward: Ward) -> None:
        main = proc.process(ward.pid)
        if main is not None and main.alive and main.start_ticks == ward.handle["start_ticks"]:
            when = time.monotonic() + _LOOK_EVERY_S
            self._timers.at(when, lambda: self._watch_by_looking(ward))
        elif not ward.over:
            ward.main_exited(None, {})
            self._advance(ward)

    def kill(self, attempt_id: str, signal_name: str, grace_s: float) -> None:
        """Begin to kill an attempt; unknown and ended ones are ignored."""
        ward = self._wards.get(attempt_id)
        if ward is not None:
            self._kill(ward, "killed", signal_name, grace_s)

    def _kill(self, ward: Ward, cause: str, signal_name: str, grace_s: float) -> None:
        ward.order(cause, signal_name, grace_s, time.monotonic())
        self._advance(ward)

    def keep_only(self, wanted: set[str]) -> None:
        """Kill every attempt but these, also those that only an earlier shepherd knew."""
        for ward in list(self._wards.values()):
            if ward.attempt_id not in wanted:
                self._kill(ward, "killed", "SIGKILL", 0.0)
        for attempt_id in set(self._ended) - wanted:
            del self._ended[attempt_id]
        if self._cgroups is not None:
            strays = self._cgroups.strays({ward.tree.name for ward in self._wards.values()})
            for cage in strays:
                self._clear(cage, time.monotonic() + _CLEAR_S)

    def _clear(self, cage: Cage, give_up_at: float) -> None:
        cage.kill()
        now = time.monotonic()
        if not cage.is_empty() and now < give_up_at:
            self._timers.at(now + 0.005, lambda: self._clear(cage, give_up_at))
        else:
            cage.remove()

    def release(self, attempt_id: str) -> None:
        """Forget an ended attempt."""
        self._ended.pop(attempt_id, None)

    def reap(self) -> None:
        """Wait for all children that are dead."""
        orphans = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._roster.mains.pop(pid, None)
            ward = self._by_pid.pop(pid, None)
            if ward is None:
                orphans = True
                if (sandboxed := self._firsts.pop(pid, None)) is not None:
                    sandboxed.first_exited(proc.used(usage))
                continue
            ward.main_exited(status, proc.used(usage))
            if ward.is_sandboxed and (first := proc.child_in_session(pid)):
                ward.awaits_first = True
                self._firsts[first] = ward
            if not ward.over:
                self._advance(ward)
        if orphans:
            # Those of some attempt. One that is on its way out may wait for just this.
            for ward in [one for one in self._wards.values() if one.exited]:
                self._advance(ward)

    def _advance(self, ward: Ward) -> None:
        if ward.timer is not None:
            ward.timer.cancel()
            ward.timer = None
        again_at = ward.advance(time.monotonic())
        if ward.over:
            self._finish(ward)
        elif again_at is not None:
            ward.timer = self._timers.at(again_at, lambda: self._advance(ward))

    def _finish(self, ward: Ward) -> None:
        if ward.timeout is not None:
            ward.timeout.cancel()
        ended = ward.ended()
        try:
            journal.add_end(ward.directory, ended)
        except OSError as error:
            complain(f"attempt {ward.attempt_id}: its end cannot be recorded: {error}")
        if not ward.tree.close():
            complain(f"attempt {ward.attempt_id}: processes outlived the kill")
        del self._wards[ward.attempt_id]
        self._roster.alive.discard(ward.attempt_id)
        self._end(ward.attempt_id, ended)

    def _look_at_output(self) -> None:
        every_s = _OUTPUT_EVERY_S
        for ward in self._wards.values():
            try:
                if ward.output.look():
                    every_s = _OUTPUT_IN_NEED_S
            except OSError as error:
                complain(f"attempt {ward.attempt_id}: its output cannot be looked after: {error}")
        self._looks_at_output = bool(self._wards)
        if self._looks_at_output:
            self._timers.at(time.monotonic() + every_s, self._look_at_output)

    def _repeat(self, attempt_id: str) -> None:
        if attempt_id in self._ended:
            self._announce(self._ended[attempt_id])
        elif self._wards[attempt_id].handle:
            self._started(self._wards[attempt_id])

    def _started(self, ward: Ward) -> None:
        self._announce(
            {
                "event": "started",
                "attempt_id": ward.attempt_id,
                "at": ward.started_at,
                "handle": ward.handle,
            }
        )

    def _never_ran(self, request: Json, message: str, *, reason: str = "runtime_trouble") -> None:
        state = "failed" if reason == "runtime_trouble" else "lost"
        ended = {"at": wall_now(), "state": state, "reason": reason, "message": message}
        self._end(request["attempt_id"], ended)

    def _end(self, attempt_id: str, ended: Json) -> None:
        event = {"event": "ended", "attempt_id": attempt_id, "ended": ended}
        self._ended[attempt_id] = event
        self._announce(event)
