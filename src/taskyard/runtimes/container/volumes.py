"""Which directories and devices of this machine containers may see."""

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from taskyard.core.tasks import Device, Volume
from taskyard.runtimes.container.exposure import exposed, mounts
from taskyard.runtimes.engine.diagnosis import reason_of_os_error
from taskyard.runtimes.engine.errors import CannotRun


def binds(volumes: Sequence[Volume], allowed: Sequence[str], protected: Sequence[str]) -> list[str]:
    """The volumes as an engine takes them. Raises :class:`CannotRun` for what is not allowed.

    Links are followed first: what counts is where a path leads to, and that is what the engine is
    given, so that a link changed in between leads nowhere else. A part of the path that is
    replaced by a link later is the business of whoever may write there; keep allowed directories
    out of the reach of other users. What is ``protected`` is never shown, nor what contains it,
    whatever is allowed. Looks at the file system: for a thread.
    """
    prefixes = [os.path.realpath(prefix) for prefix in allowed]
    table = mounts() if volumes else []
    found = []
    for volume in volumes:
        real = _real(volume.host)
        if not any(Path(real).is_relative_to(prefix) for prefix in prefixes):
            raise CannotRun(
                f"volume {volume.host} is not allowed here; an operator can allow it with the "
                "setting container_volumes"
            )
        if ":" in real:
            raise CannotRun(f"volume {volume.host} has a colon in its path, which engines refuse")
        if not Path(real).exists():
            raise CannotRun(f"volume {volume.host} does not exist on the worker")
        secret = exposed(real, protected, table)
        if secret is not None:
            raise CannotRun(
                f"volume {volume.host} would show {secret}, which containers never see; mount a "
                "directory that neither contains it nor is in it"
            )
        found.append(f"{real}:{volume.container}:{'ro' if volume.read_only else 'rw'}")
    return found


def real_devices(devices: Sequence[Device], allowed: Sequence[str]) -> tuple[Device, ...]:
    """The devices by their real paths. Raises :class:`CannotRun` for links to others.

    Looks at the file system: for a thread.
    """
    known = {os.path.realpath(one) for one in allowed}
    found = []
    for device in devices:
        real = _real(device.host)
        if real not in known:
            raise CannotRun(
                f"device {device.host} is not allowed here; an operator can allow it with the "
                "setting container_devices"
            )
        if not Path(real).exists():
            raise CannotRun(f"device {device.host} does not exist on the worker")
        found.append(replace(device, host=real))
    return tuple(found)


def _real(path: str) -> str:
    """Where a path leads to. Raises :class:`CannotRun` for one that leads in circles."""
    real = path
    try:
        real = os.path.realpath(path)
        # Loops are passed over by realpath, and found by a look at what is there.
        Path(real).stat()
    except FileNotFoundError:
        return real
    except OSError as error:
        text = f"{path} cannot be used: {error.strerror or error}"
        raise CannotRun(text, reason_of_os_error(error)) from error
    return real
