"""Versions of functions on a machine without their sources: fetched and built when needed.

What was built stays in the worker's data directory, also for its next process. A version is built
by whoever is asked first, for all who ask meanwhile. One that cannot be built is not tried again
for a while; one whose source cannot be had now is, with the next call.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import anyio
import structlog

from taskyard.core.access.redaction import redact_text
from taskyard.core.errors import Conflict, NotAllowed, StoreDamaged, TaskyardError
from taskyard.core.functions.functions import BuildState, FunctionId, Version
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant, after
from taskyard.ports.clock import Clock
from taskyard.ports.functions import Builder, BuildFailed, VersionSource
from taskyard.ports.runtime import Assignment

KEPT_BUILDS: Final = 5
"""Builds of a function that stay on disk, beside those in use."""
REBUILD_PAUSE_S: Final = 60.0
"""Seconds before a version is built again whose build has failed."""

log = structlog.get_logger(__name__)
_Key = tuple[FunctionId, int]


class CalledVersions(Protocol):
    """What a runtime of functions knows of its calls."""

    def waiting_for(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> Sequence[Assignment]:
        """Calls that wait until a version can be used."""
        ...

    def versions_in_use(self) -> frozenset[_Key]:
        """Versions that have calls, or processes that could take some."""
        ...


class FetchedVersions:
    """Builds versions for calls.

    Args:
        source: where they are fetched.
        builder: builds them here.
        clock: wall time.
        at_once: how many are built at once.
    """

    def __init__(self, source: VersionSource, builder: Builder, clock: Clock, at_once: int) -> None:
        self._source = source
        self._builder = builder
        self._clock = clock
        self._places = anyio.Semaphore(at_once)
        self._called: CalledVersions | None = None
        self._building: dict[_Key, _Building] = {}
        self._failed: dict[_Key, tuple[str, Instant]] = {}
        """Why versions could not be built, and when they may be again."""

    async def open(self) -> None:
        """Call once, before the first call: ends what an earlier process left building."""
        await self._builder.open()

    def serve(self, called: CalledVersions) -> None:
        """Build for the calls of this runtime."""
        self._called = called

    async def rebuild(self, workspace: WorkspaceName, function_id: FunctionId, number: int) -> bool:
        """Build a version for the calls that wait for it; whether it can be used now.

        Raises:
            Conflict: it cannot be built here; says why.
            NotAllowed: its calls were taken from this worker.
            NotFound: it is not there any more.
            Unavailable: control planes cannot be asked now.
        """
        key = (function_id, number)
        found = self._building.get(key)
        if found is None:
            found = self._building[key] = _Building()
            try:
                found.is_usable = await self._make(workspace, key)
            except TaskyardError as error:
                found.error = error
            finally:
                del self._building[key]
                found.done.set()
        else:
            await found.done.wait()
        if found.error is not None:
            raise found.error
        return found.is_usable

    async def _make(self, workspace: WorkspaceName, key: _Key) -> bool:
        self._check_failed(key)
        async with self._places:
            fetched = await self._fetched(workspace, key)
            if fetched is None:
                return False
            call, version = fetched
            if version.image or version.state not in {BuildState.READY, BuildState.FAILED}:
                return False
            try:
                await self._build(call, version)
            except (BuildFailed, StoreDamaged) as error:
                self._failed[key] = (str(error), after(self._clock.now(), REBUILD_PAUSE_S))
                log.warning(
                    "build_failed", function=key[0], version=key[1], reason=redact_text(str(error))
                )
                raise Conflict(str(error)) from error
        await self._retire(*key)
        return True

    def _check_failed(self, key: _Key) -> None:
        """Raise ``Conflict`` if a version has failed lately."""
        now = self._clock.now()
        self._failed = {one: told for one, told in self._failed.items() if now < told[1]}
        if key in self._failed:
            raise Conflict(self._failed[key][0])

    async def _fetched(
        self, workspace: WorkspaceName, key: _Key
    ) -> tuple[Assignment, Version] | None:
        """A version, and a call that needs it; None if none does any more."""
        refused: NotAllowed | None = None
        for call in () if self._called is None else self._called.waiting_for(workspace, *key):
            try:
                return call, await self._source.version(call, key[1])
            except NotAllowed as error:
                # It was cancelled, or taken from this worker; others may still need it.
                refused = error
        if refused is not None:
            raise refused
        return None

    async def _build(self, call: Assignment, version: Version) -> None:
        function_id, number = version.function_id, version.number
        content = await self._source.bundle(call, version)

        def say(line: str) -> None:
            # A build reaches package indexes with the operator's credentials.
            log.debug("build", function=function_id, version=number, line=redact_text(line))

        await self._builder.build(version, content, say, call.identity, call.sandbox)
        log.info("version_built", function=function_id, version=number)

    async def _retire(self, function_id: FunctionId, number: int) -> None:
        """Remove builds of a function that are not needed any more."""
        in_use = frozenset[_Key]() if self._called is None else self._called.versions_in_use()
        try:
            there = (await self._builder.built_here()).get(function_id, [])
            old = [
                one
                for one in sorted(there, reverse=True)[KEPT_BUILDS:]
                if one != number and (function_id, one) not in in_use
            ]
            await self._builder.retire(function_id, old)
        except OSError as error:
            log.warning("builds_not_retired", function=function_id, reason=str(error))


class _Building:
    """A version that is being built."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.is_usable = False
        self.error: TaskyardError | None = None
