"""The container runtime: one object for each attempt, and what they share."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup

from taskyard.core.backoff import Backoff
from taskyard.core.ids import AttemptId
from taskyard.core.image_name import ImageName
from taskyard.core.resources import Capacity
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.runtime import Assignment, KillOrder, Listener
from taskyard.runtimes.container.attempt import AttemptContainer
from taskyard.runtimes.container.image_record import ImageRecord
from taskyard.runtimes.container.outage import EVER, OutageRecord
from taskyard.runtimes.container.request import container_name
from taskyard.runtimes.container.syslog_sender import SyslogSender
from taskyard.runtimes.container.watch import Watch
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.discovery import engine_paths, find_engine, why_no_engine
from taskyard.runtimes.engine.errors import EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.identity import (
    ATTEMPT_LABEL,
    INSTALLATION_LABEL,
    boot_id,
    installation_id,
)
from taskyard.runtimes.engine.settings import ContainerSettings

_log = structlog.get_logger(__name__)

_OPEN_S: Final = 10.0
_CLOSE_S: Final = 10.0
_REMOVERS: Final = 4
_SLOTS_PER_CORE: Final = 8
"""Fewer than the server's own machine offers: starting a container costs a hundred commands."""
_REMOVE_RETRY_MAX_S: Final = 5.0


class ContainerRuntime:
    """Runs containers. Implements the runtime port.

    Args:
        directory: Where it keeps its installation id and the record of its images; made if
            missing. What carries this id belongs to this runtime, and nothing else does.
        settings: What the operator decides.
        clock: Wall time.
    """

    uses_directory = True

    def __init__(self, directory: Path, settings: ContainerSettings, clock: Clock) -> None:
        self.clock = clock
        self.network = settings.network
        self.volumes = settings.volumes
        self.file_dirs = settings.file_dirs
        self.protected = settings.protected
        self.rule = settings.rule
        self.sender = SyslogSender(allow_private=settings.syslog_to_private)
        self.installation = ""
        self.boot = ""
        self.is_podman = False
        self.engine: EngineClient
        self.watch: Watch
        self.listener: Listener
        self._directory = directory.absolute()
        self._settings = settings
        self._images = ImageRecord(self._directory, clock)
        self._absences = OutageRecord(self._directory)
        self._knows_absences = False
        self._attempts: dict[AttemptId, AttemptContainer] = {}
        self._removing: set[str] = set()
        self._removers = anyio.CapacityLimiter(_REMOVERS)
        self._may_sweep = False
        self._group: TaskGroup | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self, listener: Listener) -> None:
        """Find the engine and listen to it. Raises ``RuntimeUnavailable``."""
        if self._keeper is not None:
            return
        self.listener = listener
        try:
            if not self._knows_absences:
                await self._absences.load()
                self._knows_absences = True
        except OSError as error:
            raise _no_place(error) from error
        try:
            self.engine, self.is_podman = await self._find()
        except RuntimeUnavailable:
            await self._absences.begin(EVER)
            raise
        self.protected = (*self._settings.protected, *await engine_paths(self.engine))
        try:
            self.installation = await to_thread.run_sync(installation_id, self._directory)
            self.boot = boot_id()
            await self._images.load()
        except OSError as error:
            await self.engine.close()
            raise _no_place(error) from error
        self.watch = Watch(
            self.engine,
            self.installation,
            self.clock,
            self._on_end,
            self._on_out_of_memory,
            self._on_connect,
            self._absences,
        )
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(ready), name="container runtime")
        await ready
        with anyio.move_on_after(_OPEN_S):
            await self.watch.connected.wait()
        _log.info("containers run", engine=str(self.engine.address), podman=self.is_podman)

    async def check(self) -> str | None:
        """Whether attempts can be run now: None if so, otherwise why not."""
        engine = None if self._keeper is None else self.engine
        own = self._settings
        return await why_no_engine(engine, own.engine, own.tls, "attempts")

    async def capacity(self) -> Capacity | None:
        """What the engine's machine has; None if the engine cannot say so now."""
        if self._keeper is None:
            return None
        try:
            found = await self.engine.call("GET", "/info") or {}
        except (EngineUnreachable, EngineRefused) as error:
            _log.info("engine not measured", engine=str(self.engine.address), why=str(error))
            return None
        cores, memory = found.get("NCPU"), found.get("MemTotal")
        if not (isinstance(cores, int) and isinstance(memory, int) and min(cores, memory) > 0):
            return None
        return Capacity(_SLOTS_PER_CORE * cores, cores * 1000, memory)

    async def _find(self) -> tuple[EngineClient, bool]:
        """The first engine that answers. Raises ``RuntimeUnavailable``."""
        return await find_engine(self._settings.engine, self._settings.tls)

    async def _keep(self, ready: asyncio.Future[None]) -> None:
        async with anyio.create_task_group() as group:
            self._group = group
            self.sender.begin(group)
            group.start_soon(self.watch.run)
            group.start_soon(self._sweep_regularly)
            group.start_soon(self._images.prune_for_ever, self.engine, self._settings.prune)
            ready.set_result(None)
            await anyio.sleep_forever()

    async def start(self, assignment: Assignment, directory: Path) -> None:
        """See the port."""
        self._take(assignment, directory, adopt=False, handle={})

    async def adopt(self, assignment: Assignment, directory: Path, handle: dict[str, Any]) -> None:
        """See the port."""
        self._take(assignment, directory, adopt=True, handle=handle)

    def _take(
        self, assignment: Assignment, directory: Path, *, adopt: bool, handle: dict[str, Any]
    ) -> None:
        if self._group is None:
            raise RuntimeUnavailable("the container runtime is not open")
        known = self._attempts.get(assignment.attempt_id)
        if known is not None:
            known.assignment = assignment
            return
        attempt = self._attempts[assignment.attempt_id] = AttemptContainer(
            assignment, directory, self
        )
        self._group.start_soon(self._see_through, attempt, adopt, handle)

    async def _see_through(
        self, attempt: AttemptContainer, adopt: bool, handle: dict[str, Any]
    ) -> None:
        try:
            await attempt.run(adopt=adopt, handle=handle)
        except Exception as error:  # noqa: BLE001 - one attempt must not end all others
            _log.exception("attempt failed", attempt_id=attempt.assignment.attempt_id)
            attempt.fail(f"the container runtime failed: {error!r}")

    async def kill(self, order: KillOrder) -> None:
        """See the port."""
        attempt = self._attempts.get(order.attempt_id)
        if attempt is not None and not attempt.over:
            attempt.order(order)

    async def release(self, attempt_ids: Sequence[AttemptId]) -> None:
        """See the port. Containers are removed behind the caller's back, a few at a time."""
        for attempt_id in attempt_ids:
            if self._attempts.pop(attempt_id, None) is not None:
                self._remove_soon(container_name(attempt_id))

    async def keep_only(self, attempt_ids: frozenset[AttemptId]) -> None:
        """Kill and remove every container of this installation but these attempts'."""
        for attempt_id in [one for one in self._attempts if one not in attempt_ids]:
            attempt = self._attempts[attempt_id]
            if attempt.over:
                await self.release([attempt_id])
            else:
                attempt.order(KillOrder(attempt_id, attempt.assignment.lease_token, "SIGKILL", 0.0))
        self._may_sweep = True
        await self._on_connect()

    async def close(self) -> None:
        """Let go of everything; containers go on."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        with anyio.move_on_after(_CLOSE_S):
            while self._removing:  # noqa: ASYNC110 - the last one of several
                await anyio.sleep(0.02)
        await self.sender.flush()
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        self._group = None
        self._attempts.clear()
        self._removing.clear()
        self._may_sweep = False
        await self.engine.close()

    async def used(self, image: ImageName, *, pulled: bool) -> None:
        """An image was used, and perhaps pulled for it."""
        await self._images.used(str(image), pulled=pulled)

    def _on_end(self, attempt_id: AttemptId) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is not None:
            attempt.wake()

    def _on_out_of_memory(self, attempt_id: AttemptId) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is not None:
            attempt.ran_out_of_memory.set()

    async def _on_connect(self) -> None:
        """Look at every container, as what happened before went unheard; remove strays."""
        for attempt in list(self._attempts.values()):
            attempt.wake()
        await self._sweep()

    async def _sweep_regularly(self) -> None:
        """Remove strays for as long as the runtime is open.

        An engine may make a container when whoever asked for it has been ended: a kill does not
        wait for that, and finds nothing to remove.
        """
        while True:
            await anyio.sleep(self._settings.sweep_s)
            await self._sweep()

    async def _sweep(self) -> None:
        """Remove the containers of this installation that no attempt belongs to."""
        if not self._may_sweep:
            return
        try:
            found = await self.engine.containers(f"{INSTALLATION_LABEL}={self.installation}")
        except (EngineUnreachable, EngineRefused) as error:
            # The next connect or sweep tries again.
            _log.info("strays not looked for", why=str(error))
            return
        for one in found:
            labels = one.get("Labels") or {}
            attempt_id = AttemptId(str(labels.get(ATTEMPT_LABEL)))
            if labels.get(INSTALLATION_LABEL) == self.installation and (
                attempt_id not in self._attempts
            ):
                self._remove_soon(str(one["Id"]), container_name(attempt_id))

    def _remove_soon(self, container: str, name: str | None = None) -> None:
        if self._group is None or (name or container) in self._removing:
            return
        self._removing.add(name or container)
        self._group.start_soon(self._remove, container, name or container)

    async def _remove(self, container: str, name: str) -> None:
        backoff = Backoff(0.1, _REMOVE_RETRY_MAX_S)
        try:
            while True:
                try:
                    async with self._removers:
                        await self.engine.remove(container)
                except EngineRefused as error:
                    # Such as a removal under way already; the next sweep looks after it.
                    _log.warning("container not removed", container=container, why=str(error))
                    return
                except EngineUnreachable:
                    await anyio.sleep(backoff.delay_s())
                else:
                    return
        finally:
            self._removing.discard(name)


def _no_place(error: OSError) -> RuntimeUnavailable:
    return RuntimeUnavailable(f"containers have no place for their records: {error}")
