"""Builds of versions: those of one function one after another, a few functions at a time."""

from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import replace

from taskyard.core.errors import TaskyardError
from taskyard.core.functions import BuildState, Function, FunctionId, Version
from taskyard.core.ids import WorkspaceName
from taskyard.ports.clock import Clock
from taskyard.ports.functions import Builder, FunctionStore
from taskyard.services.buildlogs import BuildLog
from taskyard.services.making import Making

KEPT_BUILDS: Final = 5
"""Builds of a function that stay on disk, beside the live one and those in use."""
_BUILDERS: Final = 2

log = structlog.get_logger(__name__)


class Builds:
    """What is to be built, and the logs of what is."""

    def __init__(
        self,
        store: FunctionStore,
        making: Making,
        builder: Builder,
        clock: Clock,
        built: Callable[[Function], object],
    ) -> None:
        """Prepare; ``built`` is told of a function whose build is stored."""
        self._store = store
        self._making = making
        self._builder = builder
        self._clock = clock
        self._built = built
        self._queues: dict[FunctionId, deque[tuple[WorkspaceName, int]]] = {}
        """Versions to build, of functions that have any; the first is being built."""
        self._logs: dict[tuple[FunctionId, int], BuildLog] = {}
        """Of builds that have not ended."""
        self._slots = anyio.Semaphore(_BUILDERS)
        self._group: TaskGroup | None = None

    async def run(self) -> None:
        """Build until cancelled, beginning with what an earlier process left unbuilt."""
        async with anyio.create_task_group() as group:
            await self._builder.open()
            self._group = group
            for function_id in tuple(self._queues):
                # Deployed while this began, or left when it failed.
                group.start_soon(self._build_all, function_id)
            for workspace, version in await self._store.unbuilt():
                self.enqueue(workspace, version)
            await anyio.sleep_forever()

    def enqueue(self, workspace: WorkspaceName, version: Version) -> None:
        """Build a version after all others of its function."""
        key = (version.function_id, version.number)
        if key in self._logs:
            return
        self._logs[key] = BuildLog()
        queue = self._queues.get(version.function_id)
        if queue is not None:
            queue.append((workspace, version.number))
            return
        self._queues[version.function_id] = deque([(workspace, version.number)])
        if self._group is not None:
            self._group.start_soon(self._build_all, version.function_id)

    def log(self, function_id: FunctionId, number: int) -> BuildLog | None:
        """The log of a build that has not ended."""
        return self._logs.get((function_id, number))

    def settled(self, version: Version) -> Version:
        """A version as it was read, but not before calls use it.

        The end of a build is stored before the rest of the process knows of it: who reads that it
        succeeded has to be able to call what was built.
        """
        if version.finished_at is None or self.log(version.function_id, version.number) is None:
            return version
        return replace(version, state=BuildState.BUILDING, finished_at=None, message=None)

    async def _build_all(self, function_id: FunctionId) -> None:
        """Build the versions of one function, one after another."""
        queue = self._queues[function_id]
        workspace, _ = queue[0]
        while queue:
            workspace, number = queue[0]
            try:
                async with self._slots:
                    await self._build(workspace, function_id, number)
            except TaskyardError as error:
                # The version stays unbuilt; the next process, or the next deploy, comes by again.
                log.warning("build_not_stored", function=function_id, reason=str(error))
            except Exception:
                # A defect must cost this version its build, and not all others.
                log.exception("build_defect", function=function_id, number=number)
            finally:
                growing = self._logs.pop((function_id, number), None)
                if growing is not None:
                    growing.finish()
            queue.popleft()
        del self._queues[function_id]
        await self._retire(workspace, function_id)

    async def _build(self, workspace: WorkspaceName, function_id: FunctionId, number: int) -> None:
        version = await self._store.version(workspace, function_id, number)
        building = self._logs[function_id, number]
        await self._store.set_build(function_id, number, BuildState.BUILDING, self._clock.now())
        made = await self._making.make(workspace, version, building)
        building.say("built" if made.failure is None else f"failed: {made.failure}")
        await self._store.set_build(
            function_id,
            number,
            BuildState.READY if made.failure is None else BuildState.FAILED,
            self._clock.now(),
            log=building.text,
            message=made.failure,
            digest=made.digest,
            goes_live=made.failure is None,
        )
        self._built(await self._store.function(workspace, function_id))

    async def _retire(self, workspace: WorkspaceName, function_id: FunctionId) -> None:
        """Remove builds that nobody needs any more."""
        try:
            function = await self._store.function(workspace, function_id)
            versions = await self._store.versions(workspace, function_id, None, 200)
            ready = [one for one in versions if one.state is BuildState.READY]
            needed = await self._store.in_use(function) | {function.live_version}
            old = [one.number for one in ready[KEPT_BUILDS:] if one.number not in needed]
            for number in old:
                await self._store.set_build(
                    function_id, number, BuildState.RETIRED, self._clock.now()
                )
            await self._builder.retire(function_id, old)
        except (TaskyardError, OSError) as error:
            log.warning("builds_not_retired", function=function_id, reason=str(error))
