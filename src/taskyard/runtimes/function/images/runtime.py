"""The runtime of functions that are images: gives calls to warm containers."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import structlog

from taskyard.core import output_index
from taskyard.core.attempts import StreamSize
from taskyard.core.image_name import parse_image
from taskyard.ports.clock import Clock
from taskyard.ports.errors import RuntimeUnavailable
from taskyard.ports.functions import ResultFiles
from taskyard.ports.runtime import Listener
from taskyard.runtimes.engine.client import EngineClient
from taskyard.runtimes.engine.discovery import find_engine, why_no_engine
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.identity import INSTALLATION_LABEL, installation_id
from taskyard.runtimes.engine.pulling import pull
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.runtimes.function.images.builder import NOT_LOCAL
from taskyard.runtimes.function.images.instance import ImageInstance
from taskyard.runtimes.function.images.instance_container import InstanceContainer
from taskyard.runtimes.function.images.pins import Pin, read_pin
from taskyard.runtimes.function.images.pool import ImagePool
from taskyard.runtimes.function.instance import Answer, Call, Instance
from taskyard.runtimes.function.instance_output import CARRIED_BYTES
from taskyard.runtimes.function.limits import PoolKey, PoolLimits
from taskyard.runtimes.function.output import link_output
from taskyard.runtimes.function.router import Router

_log = structlog.get_logger(__name__)

_REMOVERS: Final = 8
_CLOSE_S: Final = 10.0
_FETCH_S: Final = 300.0


class ImageRuntime(Router):
    """Implements the runtime port for calls of functions that are images.

    Args:
        directory: where builds are; it has a directory of its own in there, made if missing.
        containers: which engine, and its network for containers.
        clock: wall time.
        results: keeps large answers.
        limits: of every pool.
        node: the worker's name, which programs may ask for.
    """

    def __init__(
        self,
        directory: Path,
        containers: ContainerSettings,
        clock: Clock,
        results: ResultFiles,
        limits: PoolLimits = PoolLimits(),  # noqa: B008 - frozen
        *,
        node: str = "local",
    ) -> None:
        super().__init__(directory, clock, results, limits, node)
        self.engine: EngineClient
        self.is_podman = False
        self.installation = ""
        self.network = containers.network
        self.user = next(iter(containers.rule.users), None)
        self.removers = anyio.CapacityLimiter(_REMOVERS)
        self.containers: dict[str, InstanceContainer] = {}
        self._containers = containers
        self._own = self._directory / "images"
        self._life = f"{time.time_ns():x}"
        self._is_fetching = anyio.Lock()
        self._at_work = 0
        """How much is being done in the background."""

    async def open(self, listener: Listener) -> None:
        """See the port. Nothing of an earlier life is alive when this returns."""
        if self._main is not None:
            return
        engine, is_podman = await find_engine(self._containers.engine, self._containers.tls)
        if not engine.address.is_local:
            await engine.close()
            raise RuntimeUnavailable(NOT_LOCAL)
        try:
            self.installation = await anyio.to_thread.run_sync(installation_id, self._own)
            await self._sweep(engine)
            await anyio.to_thread.run_sync(_empty, self._own / "run")
        except OSError as error:
            await engine.close()
            raise RuntimeUnavailable(f"containers have no place for their sockets: {error}") from (
                error
            )
        except BaseException:
            await engine.close()
            raise
        self.engine, self.is_podman = engine, is_podman
        self._listener = listener
        await self._begin()
        if self._group is not None:
            self._group.start_soon(self._sweep_regularly)
        _log.info("functions that are images run", engine=str(engine.address), podman=is_podman)

    async def check(self) -> str | None:
        """Whether calls can be run now: None if so, otherwise why not."""
        engine = None if self._main is None else self.engine
        own = self._containers
        return await why_no_engine(engine, own.engine, own.tls, "calls")

    async def _sweep(self, engine: EngineClient) -> None:
        """Kill and remove what an earlier life left. Raises ``RuntimeUnavailable``."""
        try:
            found = await engine.containers(self._label)
            async with anyio.create_task_group() as group:
                for one in found:
                    group.start_soon(self._remove_stray, engine, str(one["Id"]))
            left = await engine.containers(self._label)
        except (EngineUnreachable, EngineRefused) as error:
            raise RuntimeUnavailable(f"containers left behind were not found: {error}") from error
        if left:
            names = ", ".join(str(one["Id"])[:12] for one in left[:3])
            raise RuntimeUnavailable(f"containers left behind cannot be removed yet: {names}")

    @property
    def _label(self) -> str:
        """What its containers carry."""
        return f"{INSTALLATION_LABEL}={self.installation}"

    async def _remove_stray(self, engine: EngineClient, container: str) -> None:
        async with self.removers:
            try:
                path = f"/containers/{container}/kill"
                await engine.call("POST", path, params={"signal": "SIGKILL"})
            except (EngineRefused, EngineUnreachable) as error:
                _log.debug("kill refused", container=container, why=str(error))
            try:
                await engine.remove(container)
            except (EngineRefused, EngineUnreachable) as error:
                _log.info("stray not removed yet", container=container, why=str(error))

    async def _sweep_regularly(self) -> None:
        """Remove containers that an engine made after whoever asked for them had given up."""
        while True:
            await anyio.sleep(self._containers.sweep_s)
            try:
                found = await self.engine.containers(self._label)
            except (EngineUnreachable, EngineRefused) as error:
                _log.info("strays not looked for", why=str(error))
                continue
            for one in found:
                names = {str(name).lstrip("/") for name in one.get("Names") or ()}
                if not names & self.containers.keys():
                    await self._remove_stray(self.engine, str(one["Id"]))

    async def close(self) -> None:
        """See the port. All instances end: there is nobody who could take them over."""
        if self._main is None:
            return
        # From here on nothing is reported: the next life says that these calls are lost.
        self._closing = True
        for pool in self._pools.values():
            pool.close()
        with anyio.move_on_after(_CLOSE_S):
            async with anyio.create_task_group() as group:
                for container in list(self.containers.values()):
                    group.start_soon(container.remove)
            # Whatever was being made notices by itself that it is not needed any more.
            while self._at_work:  # noqa: ASYNC110 - the last one of several
                await anyio.sleep(0.01)
        await self._end()
        self.containers.clear()
        await self.engine.close()
        await anyio.to_thread.run_sync(lambda: shutil.rmtree(self._own / "run", ignore_errors=True))
        self._calls.clear()
        self._running.clear()

    # What pools ask for

    def container_name(self, number: int) -> str:
        """See ``pool.ImageHost``."""
        return f"taskyard-function-{self.installation[:8]}-{self._life}-{number}"

    async def fetch(self, pin: Pin) -> None:
        """See ``pool.ImageHost``."""
        if pin.source is None:
            text = f"image {pin.image} is not on the engine any more; deploy it again"
            raise CannotRun(text)
        _log.info("pulling an image that the engine has lost", image=pin.image, source=pin.source)
        async with self._is_fetching:
            await pull(
                self.engine,
                parse_image(pin.source),
                auth=None,
                timeout_s=_FETCH_S,
                remark=lambda _line: None,
            )

    def give(self, instance: Instance, call: Call) -> None:
        """See ``pool.Host``."""
        if isinstance(instance, ImageInstance):
            instance.container.output.begin(call.assignment.log_limit_bytes)
        super().give(instance, call)

    def heard(self, instance: Instance, said: Answer, payload: bytes) -> None:
        """See ``pool.Host``. An answer may have overtaken what was printed before it."""
        call = instance.call
        if call is None or call.completing or "progress" in said:
            super().heard(instance, said, payload)
            return
        counts = _counts(said)
        if isinstance(instance, ImageInstance) and (
            counts is None or not instance.container.output.has(counts)
        ):
            call.completing = True
            self.spawn(self._heard_soon, instance, call, said, payload, counts)
            return
        self._answered(instance, call, said, payload)

    async def _heard_soon(
        self,
        instance: ImageInstance,
        call: Call,
        said: Answer,
        payload: bytes,
        counts: tuple[int, int] | None,
    ) -> None:
        await instance.container.output.settled(counts)
        call.completing = False
        self._answered(instance, call, said, payload)

    def _answered(self, instance: Instance, call: Call, said: Answer, payload: bytes) -> None:
        sizes = _sizes(said, len(payload))
        if sizes is not None and isinstance(instance, ImageInstance):
            if sizes[0] > self.limits.result_bytes:
                text = f"the answer has {sizes[0]} bytes; {self.limits.result_bytes} are allowed"
                said = {name: said[name] for name in ("exit", "kids") if name in said}
                said["error"] = text
                payload, sizes = payload[sizes[0] :], (0, *sizes[1:])
            said, payload = _with_output(instance, call, said, payload, sizes)
        super().heard(instance, said, payload)

    def _let_go(self, call: Call, instance: Instance) -> dict[str, StreamSize]:
        sizes = super()._let_go(call, instance)
        if isinstance(instance, ImageInstance):
            output = instance.container.output
            output.end()
            if instance.fresh and not instance.gone.is_set():
                try:
                    output.open()
                except OSError as error:
                    _log.warning("output lost", container=instance.container.name, error=str(error))
                instance.fresh = False
        return sizes

    def _look_at_output(self, call: Call, instance: Instance) -> None:
        if isinstance(instance, ImageInstance):
            try:
                if call.is_linked:
                    instance.container.output.look(call.directory)
                else:
                    link_output(call, instance)
            except OSError as error:
                _log.warning("output not linked", error=str(error))

    # In the background

    async def _safely(self, work: Callable[..., Any], *arguments: object) -> None:
        self._at_work += 1
        try:
            await super()._safely(work, *arguments)
        finally:
            self._at_work -= 1

    def _ask_to_end(self, call: Call, instance: Instance, name: str, grace_s: float) -> None:
        del call, grace_s
        # An engine sends it to the first process, as it does for other containers.
        if isinstance(instance, ImageInstance):
            self.spawn(instance.container.signal, name)

    async def _pool(self, key: PoolKey, place: Path) -> ImagePool:
        pin = await anyio.to_thread.run_sync(read_pin, place)
        return ImagePool(key, self, pin, self._own / "run")


def _counts(said: Mapping[str, Any]) -> tuple[int, int] | None:
    """How much a program has printed since it began, if it says so."""
    found = said.get("printed")
    if isinstance(found, list) and len(found) == 2 and all(type(one) is int for one in found):
        return found[0], found[1]
    return None


def _sizes(said: Mapping[str, Any], payload: int) -> tuple[int, int, int] | None:
    """Of body, output and errors in an answer's payload; None for what makes no sense."""
    found = said.get("sizes", [payload, 0, 0])
    if not (isinstance(found, list) and all(type(one) is int and one >= 0 for one in found)):
        return None
    if len(found) != 3 or sum(found) != payload:
        return None
    return found[0], found[1], found[2]


def _with_output(
    instance: ImageInstance, call: Call, said: Answer, payload: bytes, sizes: tuple[int, int, int]
) -> tuple[Answer, bytes]:
    """The answer as an instance gives it that takes down its output itself."""
    body, out, err = sizes
    printed = None
    try:
        if not call.is_linked and out + err <= CARRIED_BYTES:
            printed = instance.container.output.collected()
    except OSError as error:
        _log.warning("output lost", container=instance.container.name, error=str(error))
    spill = printed is None
    given = printed or {}
    outs = given.get("stdout", b"") + payload[body : body + out]
    errs = given.get("stderr", b"") + payload[body + out :]
    said = {"headers": [], **said, "sizes": [body, len(outs), len(errs)], "spill": spill}
    said[output_index.FILE] = given.get(output_index.FILE)
    return said, payload[:body] + outs + errs


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
