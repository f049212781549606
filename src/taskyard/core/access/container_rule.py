"""What a container may be given beyond what every container has: the operator's allow-list.

Whoever submits chooses the image and what runs in it. What makes the wall around it thinner is in
this list or is refused; what would make it thicker is always accepted. Paths of the machine are
judged where they are, by the worker that mounts them.
"""

import fnmatch
import posixpath
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.errors import InvalidInput
from taskyard.core.resources import Resources
from taskyard.core.tasks import Container, Device, DeviceRequest

ORDINARY: Final = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP"),
    *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
"""Capabilities that images expect to have when they set themselves up as root; those that Podman
gives by default. What they permit ends at the container's own name spaces and files."""
ENGINE_DEFAULTS: Final = (*ORDINARY, "AUDIT_WRITE", "MKNOD", "NET_RAW")
"""Capabilities that Docker Engine gives by default: also to write the machine's audit log, to make
device files, and to forge packets on a network shared with other containers."""
PIDS: Final = 4096
_ANY: Final = "*"
_CLOSED: Final = "none"
_ENGINES_OWN: Final = frozenset({"bridge", "default"})
"""Names of the network that engines use when nothing is said."""


class ContainerRule(Struct, frozen=True):
    """What tasks may ask for, besides what is harmless."""

    default_network: str | None = None
    """Network of containers that name none; the engine's default when None."""
    networks: tuple[str, ...] = ()
    """Further network modes, each exactly as a task names it."""
    capabilities: tuple[str, ...] = ORDINARY
    users: tuple[str, ...] = ()
    """``UID:GID`` that containers may run as, the first of them if a task names no user; any user
    of the image when empty."""
    devices: tuple[str, ...] = ()
    """Paths of device files."""
    device_drivers: tuple[str, ...] = ()
    """Drivers of device requests; ``*`` is any, and also a request that names none."""
    new_privileges: bool = False
    """Whether programs in containers with the engine's defaults may gain rights by setuid bits."""
    pids: int | None = PIDS
    """Processes and threads of one container, at most; None for no limit."""
    env: tuple[str, ...] = ()
    """Patterns of variables that may be taken over from the worker's environment."""

    def check(self, work: Container, resources: Resources) -> None:
        """Raise ``InvalidInput``, which names the setting, for what a task may not have."""
        self._check_network(work.network)
        for name in work.capabilities:
            if _bare(name) not in map(_bare, self.capabilities):
                raise _refused(
                    "container.capabilities", f"{name} may not be kept", "container_capabilities"
                )
        if self.users and work.user is not None and work.user not in self.users:
            raise _refused("user", f"containers may not run as {work.user!r}", "container_users")
        for device in work.devices:
            self._check_device(device)
        for request in work.device_requests:
            self._check_driver(request)
        if self.pids is not None and (resources.pids or 0) > self.pids:
            raise InvalidInput(
                "resources.pids",
                f"containers may have at most {self.pids}; an operator can raise that with "
                "container_pids_limit",
            )

    def effective(self, work: Container) -> Container:
        """The same container with the operator's user, and without variables it may not have."""
        inherited = tuple(name for name in work.inherited_env if self._gives(name))
        if inherited != work.inherited_env:
            work = replace(work, inherited_env=inherited)
        if self.users and work.user is None:
            work = replace(work, user=self.users[0])
        return work

    def withheld(self) -> list[str]:
        """Capabilities that containers with the engine's defaults do without, in order."""
        given = set(map(_bare, self.capabilities))
        return [] if "ALL" in given else [one for one in ENGINE_DEFAULTS if one not in given]

    def _check_network(self, network: str | None) -> None:
        own = self.default_network
        harmless = {_CLOSED} | (_ENGINES_OWN if own is None else {own})
        if network is not None and network not in harmless and network not in self.networks:
            raise _refused(
                "container.network", f"{network!r} may not be used", "container_networks"
            )

    def _check_device(self, device: Device) -> None:
        allowed = {posixpath.normpath(one) for one in self.devices}
        if posixpath.normpath(device.host) not in allowed:
            raise _refused(
                "container.devices", f"{device.host} may not be used", "container_devices"
            )

    def _check_driver(self, request: DeviceRequest) -> None:
        if _ANY not in self.device_drivers and (
            not request.driver or request.driver not in self.device_drivers
        ):
            named = f"driver {request.driver!r}" if request.driver else "a driver of any name"
            raise _refused(
                "container.devices",
                f"devices of {named} may not be used",
                "container_device_drivers",
            )

    def _gives(self, variable: str) -> bool:
        return any(fnmatch.fnmatchcase(variable, pattern) for pattern in self.env)


def _bare(capability: str) -> str:
    """Engines know each by two names."""
    return capability.removeprefix("CAP_")


def _refused(field: str, problem: str, setting: str) -> InvalidInput:
    return InvalidInput(field, f"{problem}; an operator can allow it with the setting {setting}")
