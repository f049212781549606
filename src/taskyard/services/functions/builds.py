"""Builds of versions: those of one function one after another, a few functions at a time.

How many, and whose are next, is the matter of :mod:`.build_queue`.

With several control planes, the one that was asked to deploy a version builds it, and says in the
store that it does; if it goes silent, another one takes the version over. Every other plane builds
it, from its bundle, when a call needs it there: whether that succeeds concerns that plane alone.
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

from taskyard.core.errors import Conflict, Overloaded, TaskyardError, Unavailable
from taskyard.core.functions.functions import BuildState, Function, FunctionId, Version
from taskyard.core.ids import PlaneId, WorkspaceName
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
_CLAIM_S: Final = 60.0
"""Seconds for which nobody else takes over a build."""
_LOOK_S: Final = 15.0
"""Seconds between two looks at builds that others have left; claims are renewed as often."""
_LEFT_S: Final = 30.0
"""Age in seconds of a version that nobody has claimed until another plane builds it."""

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
        plane: PlaneId | None = None,
    ) -> None:
        """Prepare; ``built`` is called with a function whose build is stored.

        ``plane`` names this control plane among several; None if there is only one.
        """
        self._plane = plane
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
        self._failures: dict[tuple[FunctionId, int], str] = {}
        """Why versions could not be built here that are ready elsewhere."""
        self._group: TaskGroup | None = None
        """Set while builds can begin."""

    @property
    def is_shared(self) -> bool:
        """Whether other control planes build as well."""
        return self._plane is not None

    async def run(self) -> None:
        """Build until cancelled, beginning with what an earlier process left unbuilt."""
        try:
            async with anyio.create_task_group() as group:
                await self._builder.open()
                self._group = group
                await self._take_up(0.0)
                # Some may have been deployed while this began, or left when it failed.
                self._begin()
                await self._rebuild_live()
                while self._plane is not None:
                    await self._clock.sleep(_LOOK_S)
                    await self._look()
                await anyio.sleep_forever()
        finally:
            self._group = None

    async def _look(self) -> None:
        """Keep what is ours, take up what others have left, remove what is not needed any more."""
        try:
            for function_id, number in list(self._logs):
                await self._is_ours(function_id, number)
            await self._take_up(_LEFT_S)
            await self._drop_retired()
        except (TaskyardError, OSError) as error:
            log.warning("builds_not_looked_at", reason=str(error))

    async def _take_up(self, age_s: float) -> None:
        """Build versions of at least this age whose build has not ended and that nobody builds."""
        before = after(self._clock.now(), -age_s)
        for workspace, version in await self._store.unbuilt():
            key = (version.function_id, version.number)
            if key not in self._logs and version.created_at <= before and await self._is_ours(*key):
                self.enqueue(workspace, version)

    async def _is_ours(self, function_id: FunctionId, number: int) -> bool:
        """Whether a version whose build has not ended is ours to build; it is for a while then."""
        if self._plane is None:
            return True
        now = self._clock.now()
        return await self._store.claim_build(
            function_id, number, self._plane, now, after(now, _CLAIM_S)
        )

    async def _drop_retired(self) -> None:
        """Remove builds from this machine that another plane has retired."""
        functions = {one.id: one for one in await self._store.everything()}
        for function_id, numbers in (await self._builder.built_here()).items():
            function = functions.get(function_id)
            if function is None:
                continue
            versions = await self._store.versions(function.workspace, function_id, None, 200)
            retired = {one.number for one in versions if one.state is BuildState.RETIRED}
            await self._builder.retire(function_id, sorted(retired.intersection(numbers)))

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
        """Build a version that is not on disk as it was built; whether it now is.

        Waits for the build; one that is under way will do. One that failed is not repeated at
        once. Raises ``NotFound``, ``Unavailable``; and ``Conflict`` with the reason if it could not
        be built here, but was elsewhere.
        """
        key = (function_id, number)
        if key not in self._logs:
            version = await self._store.version(workspace, function_id, number)
            if version.state not in {BuildState.READY, BuildState.FAILED}:
                return False
            if version.image and self._plane is None:
                return False
            if self._clock.now() < self._not_before.get(key, 0):
                self._check_built_here(key)
                return False
            self._enqueue_again(workspace, version)
        growing = self._logs.get(key)
        if growing is not None:
            await growing.finished.wait()
            if growing.trouble is not None:
                raise Unavailable(growing.trouble)
        self._check_built_here(key)
        version = await self._store.version(workspace, function_id, number)
        return version.state is BuildState.READY

    def _check_built_here(self, key: tuple[FunctionId, int]) -> None:
        if key in self._failures:
            raise Conflict(self._failures[key])

    def _enqueue_again(self, workspace: WorkspaceName, version: Version) -> None:
        function_id, number = version.function_id, version.number
        if (function_id, number) in self._logs:
            return  # somebody else asked for it, too, a moment ago
        if self._plane is None:
            log.warning("build_damaged", function=function_id, version=number)
            remark = "its files were missing or damaged: built again"
        else:
            log.info("build_missing", function=function_id, version=number)
            remark = "not on this machine: built here as well"
        self.enqueue(workspace, version)
        self._logs[function_id, number].say(remark)

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
            self._logs[function_id, number].trouble = str(error)
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
            if not await self._is_ours(function_id, number):
                return
            await self._store.set_build(function_id, number, BuildState.BUILDING, self._clock.now())
        made = await self._version_builder.make(workspace, version, building)
        building.say("built" if made.failure is None else f"failed: {made.failure}")
        message = made.failure
        if self._plane is not None:
            if not is_new:
                self._note_here((function_id, number), message)
                return
            if not await self._is_ours(function_id, number):
                log.warning("build_taken_over", function=function_id, version=number)
                return
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

    def _note_here(self, key: tuple[FunctionId, int], failure: str | None) -> None:
        """A version that is ready elsewhere was built here, or could not be."""
        if failure is None:
            self._failures.pop(key, None)
            return
        log.warning("build_failed_here", function=key[0], version=key[1], reason=failure)
        self._failures[key] = failure
        self._not_before[key] = after(self._clock.now(), _REBUILD_PAUSE_S)

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
