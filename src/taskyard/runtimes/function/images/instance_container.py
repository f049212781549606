"""One container: its making, what it says, its end, and the proof of that."""

import asyncio
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import structlog

from taskyard.core.attempts import Survivor
from taskyard.core.backoff import Backoff
from taskyard.core.states import Reason
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.container_state import ContainerState, finding
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.frames import Frames
from taskyard.runtimes.engine.killing import METHOD
from taskyard.runtimes.function.images.captured_output import CapturedOutput
from taskyard.runtimes.processes import proc

_log = structlog.get_logger(__name__)

_LOOK_MIN_S: Final = 0.01
_LOOK_MAX_S: Final = 1.0
_LOOKS: Final = 5
_AGAIN_S: Final = 1.0
_GIVE_UP_S: Final = 60.0
"""How long a kill is tried before its survivor is named."""
_REFUSALS: Final = 10
_DYING_S: Final = 2.0
_LAUNCH_S: Final = 5.0
_KILLED: Final = 137
_BY_CODE: Final = {
    128 + one: one
    for one in (
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGABRT),
        *(signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE),
        *(signal.SIGTERM, signal.SIGSYS, signal.SIGXCPU),
    )
}
"""Engines report a death by a signal as an exit code."""


class SharedContext(Protocol):
    """What containers have in common."""

    engine: EngineClient
    is_podman: bool
    removers: anyio.CapacityLimiter
    containers: dict[str, "InstanceContainer"]
    """Those that may exist on the engine, by name."""

    def spawn(self, work: Callable[..., Any], *arguments: object) -> None:
        """Run a coroutine in the background."""
        ...


class InstanceContainer:
    """The container of one instance. Implements ``function.instance.Body``.

    Args:
        name: of the container.
        directory: the instance's own; removed with it.
        shared: what all share.
        on_end: called once, when the container does not run any more and has said everything.
    """

    method = METHOD

    def __init__(
        self, name: str, directory: Path, shared: SharedContext, on_end: Callable[[], None]
    ) -> None:
        self.name = name
        self.output = CapturedOutput(directory)
        self.last: ContainerState | None = None
        """What the engine said of it when it did not run any more; None if it was gone."""
        self.trouble: str | None = None
        """See the protocol."""
        self._directory = directory
        self._shared = shared
        self._on_end = on_end
        self._over = asyncio.Event()
        self._is_killed = False
        self._begun = False
        self._is_removed = False
        self._attachment = anyio.CancelScope()
        self._launched = asyncio.Event()
        """Set unless it is being launched."""
        self._launched.set()

    async def launch(self, body: dict[str, Any]) -> None:
        """Make the container and start it.

        Raises ``EngineRefused``, ``EngineUnreachable``, :class:`CannotRun` if it is not wanted any
        more, and ``OSError`` for its files.
        """
        self._launched.clear()
        try:
            await self._launch(body)
        finally:
            self._launched.set()

    async def _launch(self, body: dict[str, Any]) -> None:
        engine = self._shared.engine
        self.output.open()
        self._shared.containers[self.name] = self
        await engine.call("POST", "/containers/create", body=body, params={"name": self.name})
        await self._check()
        attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shared.spawn(self._follow, attached)
        await attached
        await self._check()
        self._begun = True
        try:
            await engine.call("POST", f"/containers/{self.name}/start")
        except EngineRefused:
            # Podman would wait for whoever is attached to what never ran.
            self._begun = False
            self._attachment.cancel()
            raise

    async def _check(self) -> None:
        """Go no further with a container that was to be removed before it was made."""
        if self._is_removed:
            self._attachment.cancel()
            await self._shared.engine.remove(self.name)
            raise CannotRun("the function is not needed any more", Reason.RUNTIME_TROUBLE)

    async def _follow(self, attached: asyncio.Future[None]) -> None:
        """Take down what it says, then see it end."""
        frames = Frames()
        try:
            with self._attachment:
                async with self._shared.engine.attached(self.name, stdin=False) as attachment:
                    if not attached.done():
                        attached.set_result(None)
                    while data := await attachment.read():
                        for stream, piece in frames.feed(data):
                            self._take(stream, piece)
        except (EngineUnreachable, EngineRefused, ValueError) as error:
            if not attached.done():
                attached.set_exception(error)
                return
            _log.info("attachment broke", container=self.name, why=str(error))
        finally:
            if not attached.done():
                attached.cancel()
        # Docker hangs up on what cannot be started a moment before it says so.
        await self._launched.wait()
        if self._begun:
            await self._see_end()

    def _take(self, stream: int, piece: bytes) -> None:
        try:
            self.output.take(stream, piece)
        except OSError as error:
            # Without room the container must not wait for its output to be taken.
            _log.warning("output lost", container=self.name, error=str(error))
            self.output.close()

    async def _see_end(self) -> None:
        """Wait until it does not run; kill it if it goes on without anybody to hear it."""
        backoff, looks = Backoff(_LOOK_MIN_S, _LOOK_MAX_S), 0
        while not self._over.is_set():
            try:
                found = await self._look()
            except (EngineUnreachable, EngineRefused) as error:
                _log.info("waiting for the container engine", container=self.name, why=str(error))
                self.trouble = f"the container engine went away: {error}"
            else:
                if self._begun and (found is None or not found.running):
                    self._conclude(found)
                    return
                looks += 1
                # An attachment may end a moment before the container does.
                if found is not None and looks > _LOOKS:
                    self.trouble = "the container engine ended the connection to its output"
                    await self._send("SIGKILL")
            await anyio.sleep(backoff.delay_s())

    async def _look(self) -> ContainerState | None:
        inspected = await self._shared.engine.inspect(self.name)
        return None if inspected is None else finding(inspected)

    def _conclude(self, found: ContainerState | None) -> None:
        if self._over.is_set():
            return
        self.last = found
        self._over.set()
        self.output.finish()
        self._on_end()

    @property
    def status(self) -> int | None:
        """How its program ended, as ``os.waitpid`` gives it; None if nobody knows."""
        if self.last is None:
            return None
        code = self.last.exit_code
        return _BY_CODE.get(code, (code & 255) << 8)

    def oom_kills(self) -> int:
        """See the protocol. Podman does not always say so: nobody here killed it, then."""
        if self.last is None:
            return 0
        unasked = self.last.exit_code == _KILLED and not self._is_killed
        return int(self.last.out_of_memory or (self._shared.is_podman and unasked))

    async def signal(self, name: str) -> None:
        """Send its program a signal; it may be gone."""
        try:
            path = f"/containers/{self.name}/kill"
            await self._shared.engine.call("POST", path, params={"signal": name})
        except (EngineRefused, EngineUnreachable) as error:
            _log.debug("signal not sent", container=self.name, why=str(error))

    async def kill(self) -> tuple[int, list[Survivor]]:
        """See the protocol. All processes of a container end with its first."""
        if self._over.is_set() or not self._begun:
            return 0, []
        give_up_at = time.monotonic() + _GIVE_UP_S
        count = await self._count()
        if self._over.is_set():
            return 0, []
        while True:
            await self._send("SIGKILL")
            with anyio.move_on_after(_AGAIN_S):
                await self._over.wait()
            if self._over.is_set():
                return count, []
            try:
                found = await self._look()
            except (EngineRefused, EngineUnreachable) as error:
                _log.warning("kill waits for the engine", container=self.name, why=str(error))
                found = None
            else:
                if found is None or not found.running:
                    self._conclude(found)
                    return count, []
            if time.monotonic() > give_up_at:
                pid = 0 if found is None else found.pid
                return count, [Survivor(pid, f"container {self.name}")]

    async def _count(self) -> int:
        """How many processes run in it, as far as they can be seen; at least its first.

        The engine is on this machine. Podman would look for a ``ps`` inside the container.
        """
        try:
            found = await self._look()
        except (EngineRefused, EngineUnreachable) as error:
            _log.debug("processes not counted", container=self.name, why=str(error))
            return 1
        if found is None or not found.pid:
            return 1
        return await anyio.to_thread.run_sync(_family, found.pid)

    async def _send(self, name: str) -> None:
        try:
            path = f"/containers/{self.name}/kill"
            await self._shared.engine.call("POST", path, params={"signal": name})
            self._is_killed = True
        except (EngineRefused, EngineUnreachable) as error:
            # Nearly always: it does not run any more. A look at it tells.
            _log.debug("kill refused", container=self.name, why=str(error))

    async def remove(self) -> None:
        """See the protocol. Waits for an engine that is away; what it does not remove is left to
        the next sweep.
        """
        self._is_removed = True
        self.output.close()
        engine, refusals = self._shared.engine, 0
        backoff = Backoff(0.1, 5.0)
        with anyio.move_on_after(_LAUNCH_S):
            # It notices, and stops in an orderly way.
            await self._launched.wait()
        while refusals < _REFUSALS:
            try:
                async with self._shared.removers:
                    if self._begun and not self._over.is_set():
                        # Removing what runs would ask it politely first, and wait.
                        await self._send("SIGKILL")
                        with anyio.move_on_after(_DYING_S):
                            await self._over.wait()
                    self._attachment.cancel()
                    await engine.remove(self.name)
                    if await engine.inspect(self.name) is None:
                        self._shared.containers.pop(self.name, None)
                        break
                refusals += 1
            except (EngineRefused, EngineUnreachable) as error:
                refusals += isinstance(error, EngineRefused)
                _log.info("container not removed yet", container=self.name, why=str(error))
            await anyio.sleep(backoff.delay_s())
        else:
            self._shared.containers.pop(self.name, None)
            _log.warning("container left to the next sweep", container=self.name)
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(self._directory, ignore_errors=True))


def _family(pid: int) -> int:
    """How many processes descend from this one, itself included; 1 if it cannot be seen."""
    table = proc.table()
    instances = {pid}
    grown = True
    while grown:
        born = {one.pid for one in table.values() if one.parent in instances} - instances
        instances |= born
        grown = bool(born)
    return len(instances)
