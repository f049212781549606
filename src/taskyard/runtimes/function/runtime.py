"""The runtime of functions that are source: calls are answered by warm processes."""

import asyncio
import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from taskyard.core.access.work_identity import Identity
from taskyard.core.functions.functions import IMAGE_ONLY, image_advice
from taskyard.core.signals import signal_number
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import BuildFailed, ResultFiles
from taskyard.ports.runtime import Listener
from taskyard.runtimes.function.abandoned_calls import AbandonedCalls
from taskyard.runtimes.function.channel import Attached
from taskyard.runtimes.function.containment import ProcessTrees, Tree
from taskyard.runtimes.function.fork_server import SANDBOXES, ForkServer, locked
from taskyard.runtimes.function.instance import Call, Instance
from taskyard.runtimes.function.instance_output import MemberOutput
from taskyard.runtimes.function.integrity import intact_manifest
from taskyard.runtimes.function.limits import PoolKey, PoolLimits
from taskyard.runtimes.function.manifest import Manifest
from taskyard.runtimes.function.outcomes import Outcome
from taskyard.runtimes.function.ownership import is_taken_back, take_back
from taskyard.runtimes.function.process_body import TreeBody
from taskyard.runtimes.function.process_pool import ProcessPool
from taskyard.runtimes.function.reachability import closed_places
from taskyard.runtimes.function.router import Router
from taskyard.runtimes.function.sandboxed_fork_server import SandboxedForkServer
from taskyard.runtimes.function.termination import Termination
from taskyard.runtimes.function.toolchains.build import CHILD
from taskyard.runtimes.function.written_outputs import WrittenOutputs

_log = structlog.get_logger(__name__)

_RESTART_PAUSE_S: Final = 0.5
_TURN_S: Final = 0.01
"""Between two looks at whose turn it is to end."""
_MEANS: Final = "install Taskyard, and keep its data, where every user may pass"


class FunctionRuntime(Router):
    """Implements the runtime port for calls of functions.

    Args:
        directory: where builds are, and processes have their directories; made if missing.
        clock: wall time.
        results: keeps large answers.
        limits: of every pool.
        node: the worker's name, which handlers may ask for.
        other_users: whether calls may run as users other than this process's own.
        use_cgroups: False relies on sessions alone, as happens by itself without cgroups.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        results: ResultFiles,
        limits: PoolLimits = PoolLimits(),  # noqa: B008 - frozen
        *,
        node: str = "local",
        other_users: bool = False,
        use_cgroups: bool = True,
    ) -> None:
        super().__init__(directory, clock, results, limits, node)
        self._run = self._directory / "run"
        digest = hashlib.sha256(str(self._directory).encode()).hexdigest()[:12]
        self._cgroup = f"taskyard-functions-{digest}"
        self._use_cgroups = use_cgroups
        self._other_users = other_users
        self._closed: list[str] = []
        """Directories that other users need, and cannot get to by themselves."""
        self.process_trees = ProcessTrees(self._cgroup, use_cgroups=False)
        self._fork_server: ForkServer | None = None
        self._nursed = asyncio.Event()
        """Set while there is one."""
        self._numbers: dict[int, ProcessPool] = {}
        """Pools by the numbers of the processes that the fork server makes for them."""
        self._outputs: set[MemberOutput] = set()
        """Of processes that are not taken leave of."""
        self._written: WrittenOutputs | None = None
        self._sandboxes: set[SandboxedForkServer] = set()
        """Those of pools that have one; some may be closed."""

    async def open(self, listener: Listener) -> None:
        """See the port."""
        if self._main is not None:
            return
        if not await anyio.Path("/proc/self/stat").exists() or not hasattr(os, "pidfd_open"):
            raise RuntimeUnavailable("functions need Linux with /proc")
        self._listener = listener
        self._written = self._written or WrittenOutputs()
        await anyio.to_thread.run_sync(self._prepare)
        await self._start_fork_server()
        await self._begin()

    def _prepare(self) -> None:
        # Others may pass through, so that functions of another user find what is theirs.
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._directory.chmod(0o711)
        if self._other_users:
            self._closed = closed_places(self._directory)
        self.process_trees = ProcessTrees(self._cgroup, use_cgroups=self._use_cgroups)
        self.process_trees.sweep()

    async def _start_fork_server(self) -> None:
        fork_server = ForkServer(
            self._directory,
            self.process_trees.base,
            self._heard_fork_server,
            self._lost_fork_server,
            self._closed,
        )
        await fork_server.start()
        if fork_server.obstacle is not None:
            _log.warning(
                "functions_out_of_reach",
                places=self._closed,
                reason=fork_server.obstacle,
                means=_MEANS,
            )
        # Neither are those in sandboxes, which end with their server, too.
        try:
            os.close(await anyio.to_thread.run_sync(locked, self._directory / SANDBOXES))
        except OSError as error:
            await fork_server.close()
            raise RuntimeUnavailable(f"sandboxes of functions do not end: {error}") from error
        # Nothing of an earlier life is alive any more.
        await anyio.to_thread.run_sync(_empty, self._run)
        self._fork_server = fork_server
        self._nursed.set()

    async def close(self) -> None:
        """See the port. All instances end: there is nobody who could take them over."""
        if not await self._end():
            return
        if self._fork_server is not None:
            await self._fork_server.close()
        async with anyio.create_task_group() as group:
            for sandbox in self._sandboxes:
                group.start_soon(sandbox.close)
        self._sandboxes.clear()
        for output in list(self._outputs):
            output.close()
        if self._written is not None:
            self._written.close()
            self._written = None
        await anyio.to_thread.run_sync(self._tidy)
        self._calls.clear()
        self._running.clear()

    def _tidy(self) -> None:
        self.process_trees.sweep()
        self.process_trees.close()
        shutil.rmtree(self._run, ignore_errors=True)

    # What pools ask for

    def make(self, order: dict[str, Any], attached: Sequence[Attached], pool: ProcessPool) -> None:
        """See ``process_pool.ProcessHost``."""
        self._numbers[order["number"]] = pool
        if self._fork_server is None:
            for one in attached:
                one.close()
        else:
            self._fork_server.order(order, *attached)

    def output(self) -> MemberOutput:
        """See ``process_pool.ProcessHost``."""
        output = MemberOutput(self._outputs.discard, self._written)
        self._outputs.add(output)
        return output

    def unheard(self) -> None:
        """See ``process_pool.ProcessHost``."""
        if self._fork_server is not None:
            _log.error("the fork server hangs; killing it")
            # Until its end is heard, calls that come wait for the next one.
            self._nursed.clear()
            self._fork_server.kill()

    def lost(self, pool: ProcessPool) -> None:
        """See ``process_pool.ProcessHost``."""
        if self._closing or self._pools.get(pool.key) is not pool:
            return
        _log.error("the fork server of a sandbox is gone", function=pool.key.function_id)
        del self._pools[pool.key]
        self.spawn(self._complete_abandoned, AbandonedCalls([pool]))

    def _ask_to_end(self, call: Call, instance: Instance, name: str, grace_s: float) -> None:
        if instance.pid and isinstance(instance.body, TreeBody):
            number = signal_number(name) or signal.SIGTERM
            self.spawn(self._terminate, call, instance.body.tree, instance.pid, number, grace_s)

    async def _terminate(
        self, call: Call, tree: Tree, pid: int, number: int, grace_s: float
    ) -> None:
        run = anyio.to_thread.run_sync
        now = anyio.current_time()
        termination = await run(Termination, tree, pid, number, grace_s, now)
        while not call.completing and call.ended is None:
            if await run(termination.advance, anyio.current_time()):
                return
            await anyio.sleep(_TURN_S)

    async def _pool(self, key: PoolKey, place: Path) -> ProcessPool:
        manifest = await anyio.to_thread.run_sync(_described, place, key.identity)
        if manifest.language in IMAGE_ONLY:
            # Built by an earlier release; its program speaks that release's protocol.
            text = f"this version was deployed as source, but {image_advice(manifest.language)}"
            raise RuntimeUnavailable(text)
        await self._nursed.wait()
        obstacle = None if self._fork_server is None else self._fork_server.obstacle
        if obstacle is not None and key.identity.uid is not None:
            needed = (self._directory, CHILD if manifest.program else Path(sys.base_prefix))
            closed = [str(one) for one in needed if str(one) in self._closed]
            if closed:
                places = " and ".join(closed)
                text = f"the workspace's user cannot get to {places} ({obstacle}): {_MEANS}"
                raise RuntimeUnavailable(text)
        if not key.sandboxed:
            return ProcessPool(key, self, manifest, place, self._run)
        run = self._run / f"sandbox-{self.number()}"
        sandbox = SandboxedForkServer(self._directory, place, run)
        self._sandboxes = {one for one in self._sandboxes if not one.is_closed} | {sandbox}
        pool = ProcessPool(key, self, manifest, place, run, sandbox)
        await pool.open()
        return pool

    def _heard_fork_server(self, said: dict[str, Any]) -> None:
        number = said.get("born", said.get("exited"))
        pool = self._numbers.get(number) if isinstance(number, int) else None
        if pool is not None:
            pool.heard(said)
        if isinstance(number, int) and "exited" in said:
            self._numbers.pop(number, None)

    def _lost_fork_server(self) -> None:
        """Every function process is dead or dying; begin again."""
        if self._closing:
            return
        _log.error("the fork server is gone; starting another one")
        dead, self._fork_server = self._fork_server, None
        self._nursed.clear()
        pools, self._pools = self._pools, {}
        abandoned = AbandonedCalls(pools.values())
        self._numbers.clear()
        self.spawn(self._replace_fork_server, dead, abandoned)

    async def _replace_fork_server(
        self, dead: ForkServer | None, abandoned: AbandonedCalls
    ) -> None:
        if dead is not None:
            await dead.close()
        await anyio.to_thread.run_sync(self.process_trees.sweep)
        await self._complete_abandoned(abandoned)
        while self._fork_server is None:
            try:
                await self._start_fork_server()
            except RuntimeUnavailable as error:
                _log.error("no fork server", error=str(error), retry_in_s=_RESTART_PAUSE_S)
                await anyio.sleep(_RESTART_PAUSE_S)

    async def _complete_abandoned(self, abandoned: AbandonedCalls) -> None:
        text = "the ancestor of all function processes died"
        outcome = Outcome(AttemptState.FAILED, Reason.RUNTIME_TROUBLE, text)
        for call, instance in abandoned.given:
            await self._complete_one_abandoned(call, instance, outcome)
        for call in abandoned.waiting:
            self._report(call, outcome, {})


def _described(place: Path, identity: Identity) -> Manifest:
    """What a build is; it can be read by this user from then on.

    Raises ``OSError``, ``msgspec.DecodeError`` if there is none that is sound.
    """
    if identity.uid is not None and not is_taken_back(place, identity):
        # Built while no workspace had a user: all of it is this process's own.
        try:
            take_back(place, os.geteuid(), identity)
        except BuildFailed as error:
            raise OSError(str(error)) from error
    return intact_manifest(place)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o711)
