"""The function runtime: gives calls to warm processes, and reports what becomes of them."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog

from taskyard.core.ids import AttemptId
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import FunctionCall
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import ResultFiles
from taskyard.ports.runtime import Assignment, KillOrder, Listener
from taskyard.runtimes.function.cages import Cages
from taskyard.runtimes.function.endings import Ending, Nonsense, answered, kill_report, with_blob
from taskyard.runtimes.function.limits import PoolKey, PoolLimits
from taskyard.runtimes.function.manifest import read_manifest, version_directory
from taskyard.runtimes.function.member import Answer, Call, Member
from taskyard.runtimes.function.nursery import Nursery
from taskyard.runtimes.function.orphans import Orphans
from taskyard.runtimes.function.pool import Pool
from taskyard.runtimes.function.settling import INLINE_BYTES, Settlement

_log = structlog.get_logger(__name__)

_TICK_S: Final = 0.005
_IDLE_TICK_S: Final = 1.0
_RESTART_PAUSE_S: Final = 0.5


class FunctionRuntime(Settlement):
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
        super().__init__(clock, results)
        self._node = node
        digest = hashlib.sha256(str(self._directory).encode()).hexdigest()[:12]
        self._cgroup = f"taskyard-functions-{digest}"
        self._use_cgroups = use_cgroups
        self.cages = Cages(self._cgroup, use_cgroups=False)
        self._nursery: Nursery | None = None
        self._nursed = asyncio.Event()
        """Set while there is one."""
        self._pools: dict[PoolKey, Pool] = {}
        self._opening: dict[PoolKey, list[Call]] = {}
        """Calls that wait for their version to be looked up."""
        self._calls: dict[AttemptId, Call] = {}
        self._numbers: dict[int, Pool] = {}
        """Pools by the numbers of the processes that the nursery makes for them."""
        self._number = 0
        self._main: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

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
        self._nursed.set()

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
            "task": work.alias or assignment.task_id,
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
            work = call.assignment.work
            if isinstance(work, FunctionCall) and work.blob_header:
                ending = with_blob(ending, work.blob_header)
        except Nonsense as error:
            text = f"its process broke the protocol: {error}"
            ending, printed = Ending(AttemptState.FAILED, Reason.FUNCTION_ERROR, text), {}
            said = {**said, "kids": True}
        result = ending.result
        easy = not (said.get("spill") or said.get("kids") or "exit" in said or call.is_linked)
        if easy and (result is None or result.size_bytes <= INLINE_BYTES):
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

    # In the background

    async def _work(self, ready: asyncio.Future[None]) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            ready.set_result(None)
            while True:
                busy = self._running or any(pool.waiting for pool in self._pools.values())
                self._wake.clear()
                if busy:
                    # Without a scope: with calls coming in this is the most frequent turn of all.
                    await anyio.sleep(_TICK_S)
                else:
                    with anyio.move_on_after(_IDLE_TICK_S):
                        await self._wake.wait()
                self._look()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        self._watch(now)
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
        await self._nursed.wait()
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
        self._nursed.clear()
        pools, self._pools = self._pools, {}
        orphans = Orphans(pools.values())
        self._numbers.clear()
        self.spawn(self._replace_nursery, dead, orphans)

    async def _replace_nursery(self, dead: Nursery | None, orphans: Orphans) -> None:
        if dead is not None:
            await dead.close()
        await anyio.to_thread.run_sync(self.cages.sweep)
        text = "the ancestor of all function processes died"
        ending = Ending(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text)
        for call, member in orphans.given:
            await self._settle_orphan(call, member, ending)
        for call in orphans.waiting:
            self._report(call, ending, {})
        while self._nursery is None:
            try:
                await self._start_nursery()
            except RuntimeUnavailable as error:
                _log.error("no nursery", error=str(error), retry_in_s=_RESTART_PAUSE_S)
                await anyio.sleep(_RESTART_PAUSE_S)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
