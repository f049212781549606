"""What to ask an engine for: the body of the request that creates a function's container."""

from typing import Any, Final

from msgspec import Struct

from taskyard.runtimes.engine.identity import INSTALLATION_LABEL
from taskyard.runtimes.function.limits import PoolKey, PoolLimits

FUNCTION_LABEL: Final = "taskyard.function"
VERSION_LABEL: Final = "taskyard.function_version"
INSIDE: Final = "/run/taskyard"
"""Where a container finds its socket's directory."""
SOCKET: Final = "socket"


class InstanceContext(Struct, frozen=True):
    """What a container gets from this worker."""

    installation: str
    network: str | None
    sockets: str
    """The directory with its socket, on this machine."""
    user: str | None = None
    """``UID:GID`` to run as; the image's when None."""


def creation(
    image_id: str, key: PoolKey, limits: PoolLimits, context: InstanceContext
) -> dict[str, Any]:
    """The body of ``POST /containers/create``: as little as a program needs to answer calls."""
    host: dict[str, Any] = {
        # Output comes through an attachment; a log would grow for as long as the container lives.
        "LogConfig": {"Type": "none"},
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108 - inside
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": limits.pids,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Mounts": [
            {"Type": "bind", "Source": context.sockets, "Target": INSIDE, "ReadOnly": True},
        ],
    }
    if context.network is not None:
        host["NetworkMode"] = context.network
    if key.cpu_millis is not None:
        host["NanoCpus"] = key.cpu_millis * 1_000_000
    memory = key.memory_bytes or limits.memory_bytes
    if memory is not None:
        # As much with swap as without: none.
        host |= {"Memory": memory, "MemorySwap": memory}
    variables = {
        "TASKYARD_WORKSPACE": key.workspace,
        "TASKYARD_FUNCTION": key.function_id,
        "TASKYARD_VERSION": str(key.version),
        "TASKYARD_RESULT_BYTES": str(limits.result_bytes),
        "TASKYARD_FUNCTION_SOCKET": f"{INSIDE}/{SOCKET}",
    }
    who = {} if context.user is None else {"User": context.user}
    return {
        **who,
        "Image": image_id,
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Labels": {
            INSTALLATION_LABEL: context.installation,
            FUNCTION_LABEL: key.function_id,
            VERSION_LABEL: str(key.version),
        },
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        # Answering calls is the only sign of health that counts.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }
