"""Builds of versions: those of one function one after another, a few functions at a time.

How many, and whose are next, is the matter of :mod:`.build_queue`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.errors import Overloaded, TaskyardError
from taskyard.core.functions.functions import BuildState, Function, FunctionId, Version
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.ports.clock import Clock
from taskyard.ports.functions import Builder, FunctionStore
from taskyard.services.functions.build_queue import BuildQueue
from taskyard.services.functions.version_builder import BuildLog, VersionBuilder

KEPT_BUILDS: Final = 5
"""Builds of a function that stay on disk, beside the live one and those in use."""
_LONGEST_PAUSE_S: Final = 60.0
_REBUILD_PAUSE_S: Final = 60.0
"""Seconds before a version is built again whose rebuild has failed."""

log = structlog.get_logger(__name__)


class BuildLimits(Struct, frozen=True):
    """How much is built at once, and how much may wait."""

    at_once: int = 2
    """Builds under way in all workspaces together."""
    waiting: int = 100
    """Versions of one workspace that may wait."""


class Builds:
    """The builds that wait or run, and their logs."""

    def __init__(
        self,
        store: FunctionStore,
        version_builder: VersionBuilder,
        builder: Builder,
        clock: Clock,
        built: Callable[[Function], object],
        limits: BuildLimits = BuildLimits(),  # noqa: B008 - frozen
    ) -> None:
        """Prepare; ``built`` is called with a function whose build is stored."""
        self._store = store
        self._version_builder = version_builder
        self._builder = builder
        self._clock = clock
        self._built = built
        self._limits = limits
        self._queue = BuildQueue(limits.at_once)
        self._logs: dict[tuple[FunctionId, int], BuildLog] = {}
        """Of builds that have not ended."""
        self._admitted: Counter[WorkspaceName] = Counter()
        """Versions that are about to wait."""
        self._pause_s = 1.0
        """How long the last build took."""
        self._not_before: dict[tuple[FunctionId, int], Instant] = {}
        """When versions may be built again whose rebuild has failed."""
        self._group: TaskGroup | None = None
        """Set while builds can begin."""

    async def run(self) -> None:
        """Build until cancelled, beginning with what an earlier process left unbuilt."""
        try:
            async with anyio.create_task_group() as group:
                await self._builder.open()
                self._group = group
                for workspace, version in await self._store.unbuilt():
                    self.enqueue(workspace, version)
                # Some may have been deployed while this began, or left when it failed.
                self._begin()
                await self._rebuild_live()
                await anyio.sleep_forever()
        finally:
            self._group = None

    async def _rebuild_live(self) -> None:
        """Build what is live and not on disk as it was built, such as after a power cut."""
        for function in await self._store.everything():
            number = function.live_version
            if number is not None:
                try:
                    version = await self._store.version(function.workspace, function.id, number)
                    is_ready = version.state is BuildState.READY
                    if (
                        is_ready
                        and not version.image
                        and not await self._version_builder.is_made(version)
                    ):
                        self._enqueue_again(function.workspace, version)
                except (TaskyardError, OSError) as error:
                    log.warning("build_not_checked", function=function.id, reason=str(error))

    async def rebuild(self, workspace: WorkspaceName, function_id: FunctionId, number: int) -> bool:
        """Build a version again that is not on disk as it was built; whether it now is.

        Waits for the build; one that is under way will do. One that failed is not repeated at
        once. Raises ``NotFound``, ``Unavailable``.
        """
        key = (function_id, number)
        if key not in self._logs:
            version = await self._store.version(workspace, function_id, number)
            if version.image or version.state not in {BuildState.READY, BuildState.FAILED}:
                return False
            if self._clock.now() < self._not_before.get(key, 0):
                return False
            self._enqueue_again(workspace, version)
        growing = self._logs.get(key)
        if growing is not None:
            await growing.finished.wait()
        version = await self._store.version(workspace, function_id, number)
        return version.state is BuildState.READY

    def _enqueue_again(self, workspace: WorkspaceName, version: Version) -> None:
        function_id, number = version.function_id, version.number
        if (function_id, number) in self._logs:
            return  # somebody else asked for it, too, a moment ago
        log.warning("build_damaged", function=function_id, version=number)
        self.enqueue(workspace, version)
        self._logs[function_id, number].say("its files were missing or damaged: built again")

    @contextmanager
    def admitted(self, workspace: WorkspaceName) -> Iterator[None]:
        """Hold a place in the queue for a version that is about to be stored and enqueued.

        Raises ``Overloaded`` if the workspace has as many waiting as it may.
        """
        waiting = self._queue.waiting(workspace) + self._admitted[workspace]
        if waiting >= self._limits.waiting:
            raise Overloaded(
                f"{waiting} builds are waiting in this workspace, and {self._limits.waiting} may; "
                "deploy again when some have ended",
                retry_after_s=min(max(1.0, self._pause_s), _LONGEST_PAUSE_S),
            )
        self._admitted[workspace] += 1
        try:
            yield
        finally:
            self._admitted[workspace] -= 1
            if not self._admitted[workspace]:
                del self._admitted[workspace]

    def enqueue(self, workspace: WorkspaceName, version: Version) -> None:
        """Build a version after all others of its function."""
        key = (version.function_id, version.number)
        if key in self._logs:
            return
        growing = self._logs[key] = BuildLog()
        self._queue.add(workspace, *key)
        self._begin()
        reason = self._waits_for(version.function_id, version.number)
        if reason is not None:
            growing.say(reason)

    def _begin(self) -> None:
        """Build as many as there are places for."""
        while self._group is not None and (taken := self._queue.take()) is not None:
            self._group.start_soon(self._build_next, *taken)

    def _waits_for(self, function_id: FunctionId, number: int) -> str | None:
        """What a version waits for; None if it does not wait for others."""
        return None if self._group is None else self._queue.reason(function_id, number)

    def log(self, function_id: FunctionId, number: int) -> BuildLog | None:
        """The log of a build that has not ended."""
        return self._logs.get((function_id, number))

    def settled(self, version: Version) -> Version:
        """A version as it was read, but not before calls use it; one that waits says what for.

        The end of a build is stored before the rest of the process knows of it: who reads that it
        succeeded has to be able to call what was built.
        """
        if self.log(version.function_id, version.number) is None:
            return version
        if version.finished_at is not None:
            return replace(version, state=BuildState.BUILDING, finished_at=None, message=None)
        return replace(version, message=self._waits_for(version.function_id, version.number))

    async def _build_next(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> None:
        began_at = self._clock.now()
        try:
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
            was_last = self._queue.ended(function_id)
            self._pause_s = seconds_between(began_at, self._clock.now())
        self._begin()
        if was_last:
            await self._retire(workspace, function_id)

    async def _build(self, workspace: WorkspaceName, function_id: FunctionId, number: int) -> None:
        version = await self._store.version(workspace, function_id, number)
        building = self._logs[function_id, number]
        # One that was ready stays so until it is known to be otherwise: calls go on waiting for
        # it, and if this process ends, the next one finds it damaged again.
        is_new = version.state in {BuildState.PENDING, BuildState.BUILDING}
        if is_new:
            await self._store.set_build(function_id, number, BuildState.BUILDING, self._clock.now())
        made = await self._version_builder.make(workspace, version, building)
        building.say("built" if made.failure is None else f"failed: {made.failure}")
        message = made.failure
        if message is not None and not is_new:
            message = f"its files were damaged, and it could not be built again: {message}"
            self._not_before[function_id, number] = after(self._clock.now(), _REBUILD_PAUSE_S)
        await self._store.set_build(
            function_id,
            number,
            BuildState.READY if made.failure is None else BuildState.FAILED,
            self._clock.now(),
            log=building.text,
            message=message,
            digest=made.digest,
            goes_live=made.failure is None and is_new,
        )
        self._built(await self._store.function(workspace, function_id))

    async def _retire(self, workspace: WorkspaceName, function_id: FunctionId) -> None:
        """Remove builds that are no longer needed."""
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
