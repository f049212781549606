"""The function runtime: gives calls to warm processes, and reports what becomes of them."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from taskyard.core.attempts import Ended, Progress, Started, StreamSize
from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import FunctionCall
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import ResultFiles
from taskyard.ports.runtime import Assignment, KillOrder, Listener, ProgressListener
from taskyard.runtimes.function.cages import Cages
from taskyard.runtimes.function.endings import Ending, Nonsense, answered, died, kill_report
from taskyard.runtimes.function.manifest import read_manifest, version_directory
from taskyard.runtimes.function.member import Answer, Call, Member
from taskyard.runtimes.function.nursery import Nursery
from taskyard.runtimes.function.output import (
    Printed,
    free_surplus,
    hand_over,
    left_behind,
    link_output,
    within,
)
from taskyard.runtimes.function.pool import Pool, PoolKey, PoolLimits, kill_all

_log = structlog.get_logger(__name__)

_TICK_S: Final = 0.005
_IDLE_TICK_S: Final = 1.0
_STARTED_AFTER_S: Final = 0.02
"""Calls that are over sooner report start and end in one."""
_LINK_AFTER_S: Final = 0.1
"""Calls that are over sooner cannot be watched."""
_INLINE_BYTES: Final = 256 << 10
"""Larger bodies are kept in files."""
_RESTART_PAUSE_S: Final = 0.5
_NO_SIZE: Final = StreamSize()


class FunctionRuntime:
    """Implements the runtime port for calls of functions.

    Args:
        directory: where builds are, and processes have their directories; made if missing.
        clock: wall time.
        results: keeps large answers.
        limits: of every pool.
        node: the worker's name, which handlers may ask for.
        use_cgroups: False relies on sessions alone, as happens by itself without cgroups.
    """

    uses_directory = False

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        results: ResultFiles,
        limits: PoolLimits = PoolLimits(),  # noqa: B008 - frozen
        *,
        node: str = "local",
        use_cgroups: bool = True,
    ) -> None:
        self.limits = limits
        self._directory = directory.absolute()
        self._run = self._directory / "run"
        self._clock = clock
        self._results = results
        self._node = node
        digest = hashlib.sha256(str(self._directory).encode()).hexdigest()[:12]
        self._cgroup = f"taskyard-functions-{digest}"
        self._use_cgroups = use_cgroups
        self.cages = Cages(self._cgroup, use_cgroups=False)
        self._listener: Listener | None = None
        self._nursery: Nursery | None = None
        self._pools: dict[PoolKey, Pool] = {}
        self._opening: dict[PoolKey, list[Call]] = {}
        """Calls that wait for their version to be looked up."""
        self._calls: dict[AttemptId, Call] = {}
        self._running: dict[AttemptId, Call] = {}
        """Those that a member has."""
        self._numbers: dict[int, Pool] = {}
        """Pools by the numbers of the processes that the nursery makes for them."""
        self._number = 0
        self._group: anyio.abc.TaskGroup | None = None
        self._main: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closing = False

    async def open(self, listener: Listener) -> None:
        """See the port."""
        if self._main is not None:
            return
        if not await anyio.Path("/proc/self/stat").exists() or not hasattr(os, "pidfd_open"):
            raise RuntimeUnavailable("functions need Linux with /proc")
        self._listener = listener
        await anyio.to_thread.run_sync(self._prepare)
        await self._start_nursery()
        ready = asyncio.get_running_loop().create_future()
        self._main = asyncio.create_task(self._work(ready), name="function runtime")
        await ready

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.cages = Cages(self._cgroup, use_cgroups=self._use_cgroups)
        self.cages.sweep()

    async def _start_nursery(self) -> None:
        nursery = Nursery(self._directory, self.cages.base, self._heard_nursery, self._lost_nursery)
        await nursery.start()
        # Nothing of an earlier life is alive any more.
        await anyio.to_thread.run_sync(_empty, self._run)
        self._nursery = nursery

    async def start(self, assignment: Assignment, directory: Path) -> None:
        """See the port."""
        work = assignment.work
        if not isinstance(work, FunctionCall) or work.version is None:
            raise TypeError(f"not a call of a version: {type(work).__name__}")
        loop = asyncio.get_running_loop()
        call = Call(assignment, directory, loop.time())
        self._calls[assignment.attempt_id] = call
        self._wake.set()
        key = PoolKey(
            assignment.workspace,
            work.function_id,
            work.version,
            assignment.resources.cpu_millis,
            assignment.resources.memory_bytes,
        )
        pool = self._pools.get(key)
        if pool is not None:
            pool.offer(call)
        elif key in self._opening:
            self._opening[key].append(call)
        else:
            self._opening[key] = [call]
            self.spawn(self._open_pool, key)

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """See the port. Members die with their worker, so there is nothing left to take over."""
        del directory, handle
        known = self._calls.get(assignment.attempt_id)
        if known is not None:
            # The same attempt under another lease; what was reported under the old one is moot.
            known.assignment = assignment
            known.is_reported = False
            if known.ended is not None:
                again = msgspec.structs.replace(known.ended, lease_token=assignment.lease_token)
                known.ended = again
                self._listening.ended(again)
            return
        call = self._calls[assignment.attempt_id] = Call(assignment, Path(), 0.0)
        text = "the worker ended while the call was in its hands"
        self._report(call, Ending(AttemptState.LOST, Reason.EXIT_UNKNOWN, text), {})

    async def kill(self, order: KillOrder) -> None:
        """See the port."""
        call = self._calls.get(order.attempt_id)
        if call is None or call.ended is not None or call.settling:
            return
        call.order = order
        member = call.member
        if member is None:
            self._withdraw(call)
            return
        if call.forced is None:
            call.forced = Reason.KILLED
        if call.signalled_at is None:
            call.signalled_at = self._clock.now()
        now = asyncio.get_running_loop().time()
        ends = now + order.grace_s
        call.deadline = ends if call.deadline is None else min(call.deadline, ends)
        if order.signal == "SIGKILL" or order.grace_s <= 0:
            self.spawn(self._settle_forced, call, member)
        elif member.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
                os.killpg(member.pid, signal.Signals[order.signal])

    def _withdraw(self, call: Call) -> None:
        """End a call that no member has seen."""
        for pool in self._pools.values():
            with contextlib.suppress(ValueError):
                pool.waiting.remove(call)
        now = self._clock.now()
        report = kill_report(call, now, "queue", 0, ())
        ending = Ending(AttemptState.KILLED, Reason.KILLED, "killed", kill_report=report)
        self._report(call, ending, {})

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """See the port."""
        for attempt_id in attempt_ids:
            self._calls.pop(attempt_id, None)

    async def close(self) -> None:
        """See the port. All members end: there is nobody who could take them over."""
        main, self._main = self._main, None
        if main is None:
            return
        self._closing = True
        main.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await main
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        if self._nursery is not None:
            await self._nursery.close()
        await anyio.to_thread.run_sync(self._tidy)
        self._calls.clear()
        self._running.clear()

    def _tidy(self) -> None:
        self.cages.sweep()
        self.cages.close()
        shutil.rmtree(self._run, ignore_errors=True)

    # What pools ask for

    def number(self) -> int:
        """See ``pool.Host``."""
        self._number += 1
        return self._number

    def make(self, order: dict[str, Any], attached: socket.socket, pool: Pool) -> None:
        """See ``pool.Host``."""
        self._numbers[order["number"]] = pool
        if self._nursery is None:
            attached.close()
        else:
            self._nursery.order(order, attached)

    def spawn(self, work: Callable[..., Any], *arguments: object) -> None:
        """See ``pool.Host``."""
        if self._group is not None and not self._closing:
            self._group.start_soon(self._safely, work, *arguments)

    async def _safely(self, work: Callable[..., Any], *arguments: object) -> None:
        try:
            await work(*arguments)
        except Exception:  # noqa: BLE001 - one call's trouble must not end the others
            _log.exception("function runtime failed", doing=getattr(work, "__name__", ""))

    def give(self, member: Member, call: Call) -> None:
        """See ``pool.Host``."""
        assignment = call.assignment
        work = assignment.work
        if not isinstance(work, FunctionCall):
            raise TypeError("not a call")
        call.member, member.call = member, call
        member.calls += 1
        if not self._running:
            self._wake.set()
        self._running[assignment.attempt_id] = call
        request = work.request
        call.began_at = self._clock.now()
        call.given_at = asyncio.get_running_loop().time()
        if assignment.timeout_s is not None:
            call.deadline = call.given_at + assignment.timeout_s
        header = {
            "id": assignment.attempt_id,
            "task": assignment.task_id,
            "function": work.function_id,
            "version": work.version,
            "node": self._node,
            "method": request.method,
            "host": request.host,
            "query": request.query,
            "headers": request.headers,
            "fresh": member.fresh,
            "timeout_s": assignment.timeout_s,
        }
        member.fresh = False
        member.give(header, request.body)

    def heard(self, member: Member, said: Answer, payload: bytes) -> None:
        """See ``pool.Host``."""
        call = member.call
        if call is None or call.settling:
            return
        if "progress" in said:
            self._note(call, said)
            return
        if call.forced is not None:
            # Too late: its member is being killed.
            return
        try:
            ending, printed = answered(said, payload)
        except Nonsense as error:
            text = f"its process broke the protocol: {error}"
            ending, printed = Ending(AttemptState.FAILED, Reason.FUNCTION_ERROR, text), {}
            said = {**said, "kids": True}
        result = ending.result
        easy = not (said.get("spill") or said.get("kids") or "exit" in said or call.is_linked)
        if easy and (result is None or result.size_bytes <= _INLINE_BYTES):
            self._let_go(call, member)
            self._report(call, ending, printed)
            member.owner.free(member, asyncio.get_running_loop().time())
            return
        call.settling = True
        over = bool(said.get("kids")) or "exit" in said
        self.spawn(self._settle, call, member, ending, printed, over, bool(said.get("spill")))

    def gone(self, member: Member) -> None:
        """See ``pool.Host``."""
        call = member.call
        if call is None:
            member.owner.take_out(member)
            return
        if not call.settling:
            call.settling = True
            self.spawn(self._settle_dead, call, member)

    def failed(self, pool: Pool, calls: list[Call], text: str, *, late: bool) -> None:
        """See ``pool.Host``."""
        if self._pools.get(pool.key) is pool:
            del self._pools[pool.key]
        pool.close()
        last = text.strip().splitlines()[-1] if text.strip() else "the function is not usable"
        reason = Reason.TIMEOUT if late else Reason.FUNCTION_ERROR
        for call in calls:
            printed = {"stderr": text.encode(errors="replace")[: 16 << 10]}
            self._report(call, Ending(AttemptState.FAILED, reason, last[:2000]), printed)

    # Ends

    async def _settle(
        self,
        call: Call,
        member: Member,
        ending: Ending,
        printed: Printed,
        over: bool,
        spill: bool,
    ) -> None:
        """End a call that was answered, with more to do than to say so."""
        if over:
            member.retired = True
            _, survivors = await anyio.to_thread.run_sync(kill_all, member.tree)
            if survivors:
                _log.error("processes survive", attempt_id=call.assignment.attempt_id)
        files = spill or call.is_linked
        if files:
            try:
                hand_over(call, member, printed)
            except OSError as error:
                _log.warning("output lost", error=str(error))
        ending = await self._keep_result(call, ending)
        self._let_go(call, member)
        self._report(call, ending, printed, files=files)
        if over:
            member.owner.take_out(member)
        else:
            member.owner.free(member, asyncio.get_running_loop().time())

    async def _keep_result(self, call: Call, ending: Ending) -> Ending:
        result = ending.result
        if result is None or result.body is None or result.size_bytes <= _INLINE_BYTES:
            return ending
        try:
            await self._results.write(call.assignment.attempt_id, result.body)
        except OSError as error:
            text = f"its answer could not be stored: {error.strerror}"
            return Ending(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text)
        return msgspec.structs.replace(ending, result=msgspec.structs.replace(result, body=None))

    async def _settle_forced(self, call: Call, member: Member) -> None:
        """Kill a member for its call, with proof."""
        if call.settling:
            return
        call.settling = True
        if call.signalled_at is None:
            call.signalled_at = self._clock.now()
        await self._settle_dead(call, member)

    async def _settle_dead(self, call: Call, member: Member) -> None:
        """End a call whose member is dead, or about to be."""
        member.retired = True
        killed, survivors = await anyio.to_thread.run_sync(kill_all, member.tree)
        with anyio.move_on_after(1.0):
            await member.gone.wait()
        ending = died(call, member.status, out_of_memory=member.tree.oom_kills() > 0)
        if call.forced is not None:
            report = kill_report(
                call, self._clock.now(), member.tree.method, killed, tuple(survivors)
            )
            ending = msgspec.structs.replace(ending, kill_report=report)
        files, printed = call.is_linked, None
        if not files:
            printed = await anyio.to_thread.run_sync(left_behind, member.directory)
            files = printed is None
        if files:
            try:
                hand_over(call, member, {})
            except OSError as error:
                _log.warning("output lost", error=str(error))
        self._let_go(call, member)
        self._report(call, ending, printed or {}, files=files)
        member.owner.take_out(member)
        member.owner.look(asyncio.get_running_loop().time())

    def _let_go(self, call: Call, member: Member) -> None:
        self._running.pop(call.assignment.attempt_id, None)
        member.call = None

    def _report(self, call: Call, ending: Ending, printed: Printed, *, files: bool = False) -> None:
        """Tell how a call ended, once."""
        if call.ended is not None:
            return
        assignment = call.assignment
        folded: Printed = {}
        sizes: dict[str, StreamSize] = {}
        if printed and not files:
            folded, sizes = within(printed, assignment.log_limit_bytes)
        call.ended = Ended(
            attempt_id=assignment.attempt_id,
            lease_token=assignment.lease_token,
            at=self._clock.now(),
            state=ending.state,
            started_at=call.began_at,
            reason=ending.reason,
            message=ending.message,
            exit_code=ending.exit_code,
            signal=ending.signal,
            kill_report=ending.kill_report,
            stdout=sizes.get("stdout", _NO_SIZE),
            stderr=sizes.get("stderr", _NO_SIZE),
            folded=folded,
            output_complete=not files,
            result=ending.result,
        )
        if not call.is_reported and call.began_at is not None:
            self._report_start(call)
        self._listening.ended(call.ended)

    def _report_start(self, call: Call) -> None:
        call.is_reported = True
        assignment = call.assignment
        if call.began_at is not None:
            begun = Started(
                attempt_id=assignment.attempt_id,
                lease_token=assignment.lease_token,
                at=call.began_at,
                handle={"function": True},
            )
            self._listening.started(begun)

    def _note(self, call: Call, said: Answer) -> None:
        fraction, text = said["progress"], said.get("text")
        told: object = self._listener
        if not isinstance(fraction, int | float) or not isinstance(told, ProgressListener):
            return
        if not call.is_reported:
            self._report_start(call)
        told.progress(
            Progress(
                attempt_id=call.assignment.attempt_id,
                lease_token=call.assignment.lease_token,
                at=self._clock.now(),
                fraction=min(1.0, max(0.0, float(fraction))),
                text=text[:500] if isinstance(text, str) else None,
            )
        )

    @property
    def _listening(self) -> Listener:
        if self._listener is None:
            raise RuntimeUnavailable("the function runtime is not open")
        return self._listener

    # In the background

    async def _work(self, ready: asyncio.Future[None]) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            ready.set_result(None)
            while True:
                busy = self._running or any(pool.waiting for pool in self._pools.values())
                pause_s = _TICK_S if busy else _IDLE_TICK_S
                self._wake.clear()
                with anyio.move_on_after(pause_s):
                    if busy:
                        await anyio.sleep(pause_s)
                    else:
                        await self._wake.wait()
                self._look()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for call in list(self._running.values()):
            member = call.member
            if member is None or call.settling:
                continue
            if call.deadline is not None and now >= call.deadline:
                call.forced = call.forced or Reason.TIMEOUT
                self.spawn(self._settle_forced, call, member)
                continue
            age = now - call.given_at
            if not call.is_reported and age > _STARTED_AFTER_S:
                self._report_start(call)
            if age > _LINK_AFTER_S:
                try:
                    link_output(call, member) if not call.is_linked else free_surplus(call)
                except OSError as error:
                    _log.warning("output not linked", error=str(error))
        for pool in list(self._pools.values()):
            pool.look(now)
            if pool.is_spent(now):
                del self._pools[pool.key]
                pool.close()

    async def _open_pool(self, key: PoolKey) -> None:
        place = version_directory(self._directory, key.function_id, key.version)
        try:
            manifest = await anyio.to_thread.run_sync(read_manifest, place)
        except (OSError, msgspec.DecodeError):
            text = f"version {key.version} is not built on this worker"
            for call in self._opening.pop(key):
                self._report(call, Ending(AttemptState.FAILED, Reason.START_FAILED, text), {})
            return
        pool = self._pools[key] = Pool(key, self, manifest, place, self._run)
        for call in self._opening.pop(key):
            if call.ended is None:
                pool.offer(call)

    def _heard_nursery(self, said: dict[str, Any]) -> None:
        number = said.get("born", said.get("exited"))
        pool = self._numbers.get(number) if isinstance(number, int) else None
        if pool is not None:
            pool.heard(said)
        if isinstance(number, int) and "exited" in said:
            self._numbers.pop(number, None)

    def _lost_nursery(self) -> None:
        """Every function process is dead or dying; begin anew."""
        if self._closing:
            return
        _log.error("the nursery is gone; starting another one")
        dead, self._nursery = self._nursery, None
        self.spawn(self._replace_nursery, dead)

    async def _replace_nursery(self, dead: Nursery | None) -> None:
        if dead is not None:
            await dead.close()
        pools, self._pools = self._pools, {}
        text = "the ancestor of all function processes died"
        ending = Ending(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text)
        await anyio.to_thread.run_sync(self.cages.sweep)
        for pool in pools.values():
            for call in [*pool.waiting, *(m.call for m in pool.members.values() if m.call)]:
                call.settling = True
                self._running.pop(call.assignment.attempt_id, None)
                self._report(call, ending, {})
            pool.waiting.clear()
            pool.close()
        self._numbers.clear()
        while self._nursery is None:
            try:
                await self._start_nursery()
            except RuntimeUnavailable as error:
                _log.error("no nursery", error=str(error), retry_in_s=_RESTART_PAUSE_S)
                await anyio.sleep(_RESTART_PAUSE_S)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
