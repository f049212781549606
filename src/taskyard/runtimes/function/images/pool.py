"""A pool whose instances are containers of one image."""

from pathlib import Path
from typing import Protocol

import anyio.to_thread

from taskyard.core.states import Reason
from taskyard.runtimes.engine.diagnosis import Probe, reason_of_refusal
from taskyard.runtimes.engine.errors import CannotRun, EngineRefused, EngineUnreachable
from taskyard.runtimes.engine.identity import INSTALLATION_LABEL
from taskyard.runtimes.function.images.instance import ImageInstance, prepare
from taskyard.runtimes.function.images.instance_container import InstanceContainer, SharedContext
from taskyard.runtimes.function.images.pins import Pin
from taskyard.runtimes.function.images.request import InstanceContext, creation
from taskyard.runtimes.function.instance import Instance
from taskyard.runtimes.function.limits import PoolKey
from taskyard.runtimes.function.pool import Host, Pool, how


class ImageHost(Host, SharedContext, Protocol):
    """What such a pool needs of the runtime it belongs to."""

    installation: str
    network: str | None
    user: str | None
    """``UID:GID`` that all containers run as; the image's user when None."""

    def container_name(self, number: int) -> str:
        """The name of an instance's container; never used twice."""
        ...

    async def fetch(self, pin: Pin) -> None:
        """Pull a pinned image that the engine has lost. Raises :class:`CannotRun`."""
        ...


class ImagePool(Pool):
    """Containers of a version's pinned image."""

    linger_s = 2.0
    most_births = 4

    def __init__(self, key: PoolKey, host: ImageHost, pin: Pin, run: Path) -> None:
        """``run`` is where instances have their directories."""
        super().__init__(key, host)
        self._containers = host
        self._pin = pin
        self._run = run

    async def _make_instance(self) -> None:
        host, number = self._containers, self._host.number()
        directory = self._run / str(number)
        instance: ImageInstance | None = None
        try:
            await anyio.to_thread.run_sync(prepare, directory)
            container = InstanceContainer(
                host.container_name(number), directory, host, lambda: self._ended(number)
            )
            instance = ImageInstance(
                self,
                number,
                directory,
                container,
                self._heard_instance,
                self._hung_up,
                host.limits.result_bytes,
                host.spawn,
            )
            self.instances[number] = instance
            instance.listen()
            await self._launch(instance)
        except OSError as error:
            self._unmade(instance, f"no container could be made: {error}", Reason.RUNTIME_TROUBLE)
        except EngineUnreachable as error:
            text = f"the container engine is away: {error}"
            self._unmade(instance, text, Reason.RUNTIME_TROUBLE)
        except EngineRefused as error:
            reason = await reason_of_refusal(self._containers.engine, error, self._probe(number))
            self._unmade(instance, f"its container cannot be started: {error}", reason)
        except CannotRun as error:
            self._unmade(instance, str(error), error.reason)

    async def _launch(self, instance: ImageInstance) -> None:
        if self._closed:
            raise CannotRun("the function is not needed any more", Reason.RUNTIME_TROUBLE)
        host = self._containers
        context = InstanceContext(host.installation, host.network, str(instance.sockets), host.user)
        body = creation(self._pin.id, self.key, host.limits, context)
        try:
            await instance.container.launch(body)
        except EngineRefused as error:
            if error.status != 404 or await self._has_image():
                raise
            await host.fetch(self._pin)
            await instance.container.launch(body)

    async def _has_image(self) -> bool:
        try:
            return await self._containers.engine.has_image(self._pin.id)
        except EngineRefused:
            return True

    def _probe(self, number: int) -> Probe:
        host = self._containers
        labels = {INSTALLATION_LABEL: host.installation}
        return Probe(f"{host.container_name(number)}-probe", self._pin.id, host.network, labels)

    def _unmade(self, instance: ImageInstance | None, text: str, reason: Reason) -> None:
        if instance is None:
            self._starting -= 1
        else:
            instance.hung_up = True
            instance.gone.set()
            instance.stop_listening()
            self.take_out(instance)
        self._fail(text, reason)

    def _ended(self, number: int) -> None:
        """A container does not run any more."""
        instance = self.instances.get(number)
        if isinstance(instance, ImageInstance):
            instance.status = instance.container.status
            instance.stop_listening()
            instance.gone.set()
            self._over(instance)

    def _failed_to_start(self, instance: Instance) -> tuple[str, Reason]:
        if instance.body.trouble is not None:
            return instance.body.trouble, Reason.RUNTIME_TROUBLE
        told = "" if instance.status is None else f" ({how(instance.status)})"
        text = f"the container ended before it was ready{told}"
        if isinstance(instance, ImageInstance):
            text = f"{instance.container.output.last_words()}\n{text}".lstrip()
        return text, Reason.FUNCTION_ERROR
