"""What all attempts of a container runtime share."""

from typing import Protocol

from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.image_name import ImageName
from taskyard.ports.clock import Clock
from taskyard.ports.runtime import Listener
from taskyard.runtimes.container.syslog_sender import SyslogSender
from taskyard.runtimes.container.watch import Watch
from taskyard.runtimes.engine.client import EngineClient


class RuntimeContext(Protocol):
    """What all attempts of a runtime share."""

    engine: EngineClient
    clock: Clock
    listener: Listener
    watch: Watch
    installation: str
    boot: str
    is_podman: bool
    network: str | None
    rule: ContainerRule
    volumes: tuple[str, ...]
    file_dirs: tuple[str, ...]
    protected: tuple[str, ...]
    sender: SyslogSender

    async def used(self, image: ImageName, *, pulled: bool) -> None:
        """An image was used, and perhaps pulled for it."""
        ...
