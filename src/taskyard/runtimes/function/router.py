"""Takes calls, gives them to the instances of pools, and hears what they say."""

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
import structlog

from taskyard.core.errors import Overloaded, TaskyardError, Unavailable
from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import AttemptId, WorkspaceName
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import FunctionCall
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import ResultFiles
from taskyard.ports.runtime import Assignment, KillOrder
from taskyard.runtimes.function.completion import INLINE_BYTES, Completion
from taskyard.runtimes.function.instance import Answer, Call, Instance
from taskyard.runtimes.function.limits import PoolKey, PoolLimits
from taskyard.runtimes.function.manifest import version_directory
from taskyard.runtimes.function.outcomes import (
    InvalidAnswer,
    Outcome,
    answered,
    kill_report,
    summary,
    with_blob,
)
from taskyard.runtimes.function.pool import Pool

_TICK_S: Final = 0.005
_IDLE_TICK_S: Final = 1.0

_log = structlog.get_logger(__name__)

Rebuild = Callable[[WorkspaceName, FunctionId, int], Awaitable[bool]]
"""Takes a version; answers whether it can be used now. Raises ``TaskyardError``."""


class Router(Completion):
    """What all runtimes of functions have in common, whatever their instances are made of.

    Args:
        directory: where builds are.
        clock: wall time.
        results: keeps large answers.
        limits: of every pool.
        node: the worker's name, which handlers may ask for.
    """

    uses_directory = False

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        results: ResultFiles,
        limits: PoolLimits,
        node: str,
    ) -> None:
        super().__init__(clock, results)
        self.limits = limits
        self.rebuild: Rebuild | None = None
        """Builds a version again that is not on disk as it was built, if there is who can."""
        self._directory = directory.absolute()
        self._node = node
        self._pools: dict[PoolKey, Pool] = {}
        self._opening: dict[PoolKey, list[Call]] = {}
        """Calls that wait for their version to be looked up."""
        self._calls: dict[AttemptId, Call] = {}
        self._number = 0
        self._main: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def _begin(self) -> None:
        """Begin to work in the background."""
        ready = asyncio.get_running_loop().create_future()
        self._closing = False
        self._main = asyncio.create_task(self._work(ready), name="function runtime")
        await ready

    async def _end(self) -> bool:
        """End what is done in the background, and all pools; False if that was done before."""
        main, self._main = self._main, None
        if main is None:
            return False
        self._closing = True
        main.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await main
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        return True

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
            assignment.identity,
            # Where they have a user of their own, that is the wall.
            assignment.sandbox is not None and assignment.identity.uid is None,
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
        """See the port. Instances die with their worker: there is nothing left to take over."""
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
        self._report(call, Outcome(AttemptState.LOST, Reason.EXIT_UNKNOWN, text), {})

    async def kill(self, order: KillOrder) -> None:
        """See the port."""
        call = self._calls.get(order.attempt_id)
        if call is None or call.ended is not None or call.completing:
            return
        instance = call.instance
        if instance is None:
            self._withdraw(call)
            return
        if call.forced is None:
            call.forced = Reason.KILLED
        now = asyncio.get_running_loop().time()
        self._end_call(call, instance, order.signal, order.grace_s, now)

    def _withdraw(self, call: Call) -> None:
        """End a call that no instance has seen."""
        for pool in self._pools.values():
            with contextlib.suppress(ValueError):
                pool.waiting.remove(call)
        now = self._clock.now()
        report = kill_report(call, now, "queue", 0, ())
        outcome = Outcome(AttemptState.KILLED, Reason.KILLED, "killed", kill_report=report)
        self._report(call, outcome, {})

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """See the port."""
        for attempt_id in attempt_ids:
            self._calls.pop(attempt_id, None)

    # What those ask for who build versions

    def waiting_for(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> list[Assignment]:
        """Calls that wait until a version can be used."""
        wanted = (workspace, function_id, number)
        return [
            call.assignment
            for key, calls in self._opening.items()
            if (key.workspace, key.function_id, key.version) == wanted
            for call in calls
            if call.ended is None
        ]

    def versions_in_use(self) -> frozenset[tuple[FunctionId, int]]:
        """Versions that have calls, or processes that could take some."""
        return frozenset((one.function_id, one.version) for one in (*self._pools, *self._opening))

    # What pools ask for

    def number(self) -> int:
        """See ``pool.Host``."""
        self._number += 1
        return self._number

    def give(self, instance: Instance, call: Call) -> None:
        """See ``pool.Host``."""
        assignment = call.assignment
        work = assignment.work
        if not isinstance(work, FunctionCall):
            raise TypeError("not a call")
        call.instance, instance.call = instance, call
        instance.calls += 1
        if not self._running:
            self._wake.set()
        self._running[assignment.attempt_id] = call
        request = work.request
        call.began_at = self._clock.now()
        call.given_at = asyncio.get_running_loop().time()
        if assignment.timeout_s is not None:
            call.deadline = call.given_at + assignment.timeout_s
        header = {
            "call": instance.calls,
            "id": assignment.attempt_id,
            "task": work.alias or assignment.task_id,
            "function": work.function_id,
            "version": work.version,
            "node": self._node,
            "method": request.method,
            "host": request.host,
            "query": request.query,
            "headers": request.headers,
            "timeout_s": assignment.timeout_s,
        }
        instance.fresh = False
        if instance.output is not None:
            instance.output.begin(call.directory, assignment.log_limit_bytes)
        instance.give(header, request.body)

    def heard(self, instance: Instance, said: Answer, payload: bytes) -> None:
        """See ``pool.Host``."""
        call = instance.call
        if call is None or call.completing:
            return
        if said.get("call", instance.calls) != instance.calls:
            # What a call left behind says after its end: it is of nobody's interest any more.
            return
        if "progress" in said:
            self._note(call, said)
            return
        if call.forced is not None:
            # Too late: its instance is being killed.
            return
        try:
            outcome, printed = answered(said, payload)
            work = call.assignment.work
            if isinstance(work, FunctionCall) and work.blob_header:
                outcome = with_blob(outcome, work.blob_header)
        except InvalidAnswer as error:
            text = f"its process broke the protocol: {error}"
            outcome, printed = Outcome(AttemptState.FAILED, Reason.FUNCTION_ERROR, text), {}
            said = {**said, "kids": True}
        spill = bool(said.get("spill"))
        if instance.output is not None:
            found = instance.output.finish()
            spill = found is None
            printed = found or printed
        result = outcome.result
        easy = not (spill or said.get("kids") or "exit" in said or call.is_linked)
        if easy and (result is None or result.size_bytes <= INLINE_BYTES):
            self._let_go(call, instance)
            self._report(call, outcome, printed)
            instance.owner.free(instance, asyncio.get_running_loop().time())
            return
        call.completing = True
        over = bool(said.get("kids")) or "exit" in said
        self.spawn(self._complete, call, instance, outcome, printed, over, spill)

    def gone(self, instance: Instance) -> None:
        """See ``pool.Host``."""
        call = instance.call
        if call is None:
            instance.owner.take_out(instance)
            return
        if not call.completing:
            call.completing = True
            self.spawn(self._complete_dead, call, instance)

    def failed(self, pool: Pool, calls: list[Call], text: str, reason: Reason) -> None:
        """See ``pool.Host``."""
        if self._pools.get(pool.key) is pool:
            del self._pools[pool.key]
        pool.close()
        said = summary(text) or "the function is not usable"
        for call in calls:
            printed = {"stderr": text.encode(errors="replace")[: 16 << 10]}
            self._report(call, Outcome(AttemptState.FAILED, reason, said), printed)

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
        text = f"version {key.version} is not built on this worker"
        pool, reason = None, Reason.START_FAILED
        try:
            pool = await self._sound_pool(key)
            if pool is None:
                failure = await self._rebuilt(key)
                text = f"{text}: {failure}" if failure else text
                pool = await self._sound_pool(key) if failure is None else None
        except RuntimeUnavailable as error:
            text = str(error)
        except (Unavailable, Overloaded) as error:
            # Such as of the store, which holds the source; nothing is wrong with the calls.
            _log.warning("version_not_rebuilt", **msgspec.structs.asdict(key), error=str(error))
            text, reason = f"{text}: {error}", Reason.RUNTIME_TROUBLE
        calls = self._opening.pop(key)
        if pool is None:
            outcome = Outcome(AttemptState.FAILED, reason, text)
            for call in calls:
                if call.ended is None:
                    self._report(call, outcome, {})
            return
        self._pools[key] = pool
        for call in calls:
            if call.ended is None:
                pool.offer(call)

    async def _sound_pool(self, key: PoolKey) -> Pool | None:
        """A pool for a version; None if that is not built, or not on disk as it was built.

        Raises ``RuntimeUnavailable`` if it cannot be run here.
        """
        place = version_directory(self._directory, key.function_id, key.version)
        try:
            return await self._pool(key, place)
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("version_not_usable", **msgspec.structs.asdict(key), error=str(error))
            return None

    async def _rebuilt(self, key: PoolKey) -> str | None:
        """Have a version built again, as long as that takes; its calls wait meanwhile.

        None if it was; otherwise why not, as far as that is known. Raises ``Unavailable``,
        ``Overloaded`` if it may be another time.
        """
        if self.rebuild is None:
            return ""
        try:
            if await self.rebuild(key.workspace, key.function_id, key.version):
                return None
        except (Unavailable, Overloaded):
            raise
        except TaskyardError as error:
            _log.warning("version_not_rebuilt", **msgspec.structs.asdict(key), error=str(error))
            return str(error)
        except Exception:  # noqa: BLE001 - a defect there must not leave calls waiting here
            _log.exception("version_not_rebuilt", **msgspec.structs.asdict(key))
        return ""

    @abstractmethod
    async def _pool(self, key: PoolKey, place: Path) -> Pool:
        """A pool for the version that was built in ``place``.

        Raises ``OSError``, ``msgspec.DecodeError`` if it was not, ``RuntimeUnavailable`` if it
        cannot be run here.
        """
        ...
