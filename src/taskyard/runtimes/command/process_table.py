"""All attempts in the care of one supervisor, and what can be asked about them."""

import os
import selectors
import time
from collections.abc import Callable
from typing import Final

from taskyard.runtimes.command import journal
from taskyard.runtimes.command.confining import check_strict, confinement
from taskyard.runtimes.command.exit_watch import ExitWatch
from taskyard.runtimes.command.lines import line, line_around
from taskyard.runtimes.command.log import log_error
from taskyard.runtimes.command.output import Output
from taskyard.runtimes.command.output_reader import OutputReader
from taskyard.runtimes.command.output_watch import OutputWatch
from taskyard.runtimes.command.spawning import spawn
from taskyard.runtimes.command.supervised_process import SupervisedProcess, wall_now
from taskyard.runtimes.command.timers import Timers
from taskyard.runtimes.output import meta
from taskyard.runtimes.processes import proc
from taskyard.runtimes.processes.attempt_cgroup import AttemptCgroup, CgroupError
from taskyard.runtimes.processes.cgroups import Cgroups
from taskyard.runtimes.processes.escapes import Trees
from taskyard.runtimes.processes.identity import SpawnFailed, identity_of
from taskyard.runtimes.processes.pinning import pinned
from taskyard.runtimes.processes.proc import Json
from taskyard.runtimes.processes.session import Roster
from taskyard.runtimes.processes.tree import Limits, Tree

_CLEAR_S: Final = 5.0


class ProcessTable:
    """Starts, adopts, kills and lets go of attempts; announces ``started`` and ``ended``."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        timers: Timers,
        cgroups: Cgroups | None,
        announce: Callable[[bytes], None],
    ) -> None:
        self._timers = timers
        self._cgroups = cgroups
        self._announce = announce
        self._boot_id = proc.boot_id()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._reader = OutputReader(selector, timers)
        self._supervised: dict[str, SupervisedProcess] = {}
        self._by_pid: dict[int, SupervisedProcess] = {}
        self._firsts: dict[int, SupervisedProcess] = {}
        """By the first process of a sandbox, which becomes ours when the one outside has ended."""
        self._roster = Roster()
        self._trees = Trees(cgroups, self._roster, self._has_left)
        self._ended: dict[str, bytes] = {}
        """What was announced of attempts that nobody released yet."""
        self._output_watch = OutputWatch(timers, self._supervised)
        self._exits = ExitWatch(selector, timers)
        if cgroups is not None:
            cgroups.strays(set())

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is running."""
        return not self._supervised

    def items(self) -> list[Json]:
        """Every attempt held, running or ended."""
        running = [
            {"attempt_id": supervised.attempt_id, "state": "running", "handle": supervised.handle}
            for supervised in self._supervised.values()
        ]
        ended = [{"attempt_id": key, "state": "ended"} for key in self._ended]
        return running + ended

    def start(self, request: Json) -> None:
        """Begin an attempt, unless it was begun before: then it is adopted."""
        attempt_id: str = request["attempt_id"]
        directory: str = request["directory"]
        if attempt_id in self._supervised or attempt_id in self._ended:
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
        self._begin(request, tree, claim)

    def _has_left(self, pid: int) -> bool:
        """Whether a process is in the cgroup of no attempt, where attempts have cgroups."""
        if self._cgroups is None:
            return False
        cgroup = self._cgroups.cgroup_of(pid)
        return cgroup is None or all(
            supervised.tree.name != cgroup for supervised in self._supervised.values()
        )

    def _begin(self, request: Json, tree: Tree, claim: journal.Claim) -> None:
        supervised = self._take_in(request, tree, request["log_limit_bytes"])
        supervised.claim = claim
        output = supervised.output
        try:
            check_strict(request, supervised.confinement)
            meta.write_meta(supervised.directory, request["log_limit_bytes"])
            tree.prepare()
            with output.opened(identity_of(request), merge=request["merge_output"]) as ends:
                earliest = proc.ticks_now()
                pid = self._spawn_inside(tree, request, ends)
                start_ticks = proc.start_ticks(pid, earliest)
        except (SpawnFailed, OSError) as error:
            trouble = not isinstance(error, SpawnFailed) or error.trouble
            supervised.reason = "runtime_trouble" if trouble else "start_failed"
            supervised.message = str(error)
            supervised.main_exited(None, {})
            self._advance(supervised)
            return
        pipes = output.pipes
        tree.writes_to(pipes)
        supervised.spawned(pid, start_ticks, wall_now(), isolated=request["isolate"])
        self._by_pid[pid] = supervised
        self._roster.mains[pid] = supervised.attempt_id
        self._limit(supervised)
        supervised.handle = self._handle(supervised, pid, start_ticks, tree.record())
        known = {
            "pid": pid,
            "start_ticks": start_ticks,
            "started_at": supervised.started_at,
            "isolate": request["isolate"],
            "pipes": pipes,
        }
        try:
            claim.add(known)
        except OSError as error:
            log_error(f"attempt {supervised.attempt_id}: its pid cannot be recorded: {error}")
        self._set_timeout(supervised, request, 0.0)
        self._announce(line(supervised.started()))

    def _handle(self, supervised: SupervisedProcess, pid: int, ticks: int, tree: Json) -> Json:
        """What finds a process again."""
        return {
            "pid": pid,
            "start_ticks": ticks,
            "boot_id": self._boot_id,
            "method": supervised.tree.method,
            "tree": tree,
            "confinement": supervised.confinement,
        }

    def _spawn_inside(self, tree: Tree, request: Json, ends: tuple[int, int]) -> int:
        cpus = Limits(*request["limits"]).cpus
        if self._cgroups is not None and "cpuset" in self._cgroups.enforced:
            cpus = None  # The cgroup sees to it, and what is inside cannot get around that.
        try:
            tree.enter()
            with pinned(cpus):
                return spawn(request, self._null, ends)
        finally:
            try:
                tree.leave()
            except OSError as error:
                raise CgroupError(str(error)) from error

    def _take_in(self, request: Json, tree: Tree, limit_bytes: int) -> SupervisedProcess:
        output = Output(request["directory"], limit_bytes, self._reader, self._null)
        supervised = SupervisedProcess(request["attempt_id"], request["directory"], tree, output)
        enforced = () if self._cgroups is None else self._cgroups.enforced
        supervised.confinement = confinement(request, enforced)
        self._supervised[supervised.attempt_id] = supervised
        self._roster.alive.add(supervised.attempt_id)
        self._output_watch.begin()
        return supervised

    def _limit(self, supervised: SupervisedProcess) -> None:
        try:
            within = supervised.tree.limit()
        except OSError as error:
            supervised.reason = "runtime_trouble"
            supervised.message = f"its limits cannot be set: {error.strerror}"
        else:
            if within:
                return
            supervised.reason = "out_of_memory"
            supervised.message = "needed more memory than its limit as soon as it started"
        self._kill(supervised, "limit", "SIGKILL", 0.0)

    def _set_timeout(self, supervised: SupervisedProcess, request: Json, passed_s: float) -> None:
        timeout_s: float | None = request["timeout_s"]
        if timeout_s is not None:
            signal_name, grace_s = request["kill_signal"], request["kill_grace_s"]
            supervised.timeout_s = timeout_s
            supervised.timeout = self._timers.at(
                time.monotonic() + max(0.0, timeout_s - passed_s),
                lambda: self._kill(supervised, "timeout", signal_name, grace_s),
            )

    def adopt(self, request: Json) -> None:
        """Take over an attempt that may have begun before, here or under an earlier supervisor."""
        attempt_id: str = request["attempt_id"]
        directory: str = request["directory"]
        if attempt_id in self._supervised or attempt_id in self._ended:
            self._repeat(attempt_id)
            return
        record = journal.read(directory)
        if record is not None and "ended" in record:
            self._end(attempt_id, line(record["ended"]))
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
        supervised = self._take_in(request, tree, limit)
        pid, ticks = start.get("pid", 0), start.get("start_ticks", 0)
        if pid:
            tree.writes_to(start.get("pipes", []))
            supervised.spawned(pid, ticks, start["started_at"], isolated=start["isolate"])
            supervised.output.resume(start.get("pipes", []), tree.pids(), dropped)
        main = proc.process(pid) if pid else None
        if main is None or main.start_ticks != ticks or not main.alive:
            supervised.main_exited(None, {})
            self._advance(supervised)
            return
        supervised.handle = self._handle(supervised, pid, ticks, start["tree"])
        self._exits.watch(pid, ticks, lambda: self._is_gone(supervised))
        passed_s = max(0.0, (wall_now() - start["started_at"]) / 1e6)
        self._set_timeout(supervised, request, passed_s)
        self._announce(line(supervised.started()))

    def _is_gone(self, supervised: SupervisedProcess) -> None:
        """The main process has ended, and was not our child."""
        supervised.main_exited(None, {})
        if not supervised.over:
            self._advance(supervised)

    def kill(self, attempt_id: str, signal_name: str, grace_s: float) -> None:
        """Begin to kill an attempt; unknown and ended ones are ignored."""
        supervised = self._supervised.get(attempt_id)
        if supervised is not None:
            self._kill(supervised, "killed", signal_name, grace_s)

    def _kill(
        self, supervised: SupervisedProcess, cause: str, signal_name: str, grace_s: float
    ) -> None:
        supervised.order(cause, signal_name, grace_s, time.monotonic())
        self._advance(supervised)

    def keep_only(self, wanted: set[str]) -> None:
        """Kill every attempt but these, also those that only an earlier supervisor knew."""
        for supervised in list(self._supervised.values()):
            if supervised.attempt_id not in wanted:
                self._kill(supervised, "killed", "SIGKILL", 0.0)
        for attempt_id in set(self._ended) - wanted:
            del self._ended[attempt_id]
        if self._cgroups is not None:
            strays = self._cgroups.strays(
                {supervised.tree.name for supervised in self._supervised.values()}
            )
            for cgroup in strays:
                self._clear(cgroup, time.monotonic() + _CLEAR_S)

    def _clear(self, cgroup: AttemptCgroup, give_up_at: float) -> None:
        cgroup.kill()
        now = time.monotonic()
        if not cgroup.is_empty() and now < give_up_at:
            self._timers.at(now + 0.005, lambda: self._clear(cgroup, give_up_at))
        else:
            cgroup.remove()

    def release(self, attempt_id: str) -> None:
        """Forget an ended attempt."""
        self._ended.pop(attempt_id, None)

    def reap(self) -> None:
        """Wait for all children that are dead."""
        orphans = False
        own = proc.own_peak()
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._roster.mains.pop(pid, None)
            supervised = self._by_pid.pop(pid, None)
            if supervised is None:
                orphans = True
                if (sandboxed := self._firsts.pop(pid, None)) is not None:
                    sandboxed.first_exited(proc.used(usage, own))
                continue
            supervised.main_exited(status, proc.used(usage, own))
            if supervised.is_sandboxed and (first := proc.child_in_session(pid)):
                supervised.awaits_first = True
                self._firsts[first] = supervised
            if not supervised.over:
                self._advance(supervised)
        if orphans:
            # Those of some attempt. One that is on its way out may wait for just this.
            for supervised in [one for one in self._supervised.values() if one.exited]:
                self._advance(supervised)

    def _advance(self, supervised: SupervisedProcess) -> None:
        if supervised.timer is not None:
            supervised.timer.cancel()
            supervised.timer = None
        again_at = supervised.advance(time.monotonic())
        if supervised.over:
            self._finish(supervised)
        elif again_at is not None:
            supervised.timer = self._timers.at(again_at, lambda: self._advance(supervised))

    def _finish(self, supervised: SupervisedProcess) -> None:
        if supervised.timeout is not None:
            supervised.timeout.cancel()
        ended = line(supervised.ended())
        try:
            supervised.record_end(ended)
        except OSError as error:
            log_error(f"attempt {supervised.attempt_id}: its end cannot be recorded: {error}")
        if not supervised.tree.close():
            log_error(f"attempt {supervised.attempt_id}: processes outlived the kill")
        del self._supervised[supervised.attempt_id]
        self._roster.alive.discard(supervised.attempt_id)
        self._end(supervised.attempt_id, ended)

    def _repeat(self, attempt_id: str) -> None:
        if attempt_id in self._ended:
            self._announce(self._ended[attempt_id])
        elif self._supervised[attempt_id].handle:
            self._announce(line(self._supervised[attempt_id].started()))

    def _never_ran(self, request: Json, message: str, *, reason: str = "runtime_trouble") -> None:
        state = "failed" if reason == "runtime_trouble" else "lost"
        ended = {"at": wall_now(), "state": state, "reason": reason, "message": message}
        self._end(request["attempt_id"], line(ended))

    def _end(self, attempt_id: str, ended: bytes) -> None:
        event = line_around({"event": "ended", "attempt_id": attempt_id}, "ended", ended)
        self._ended[attempt_id] = event
        self._announce(event)
