"""What to ask an engine for: the body of the request that creates a container."""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from taskyard.core.access.container_rule import ContainerRule
from taskyard.core.attempts import Confinement
from taskyard.core.ids import AttemptId
from taskyard.core.image_name import ImageName
from taskyard.core.tasks import Container
from taskyard.ports.runtime import Assignment
from taskyard.runtimes.engine.identity import ATTEMPT_LABEL, INSTALLATION_LABEL

TASK_LABEL: Final = "taskyard.task"
PREFIX_LABEL: Final = "taskyard.stderr_prefix"
"""Bytes that stood in the ``stderr`` file before the container existed."""
BOOT_LABEL: Final = "taskyard.boot"
"""In which life of the machine it was created."""
_OWN: Final = "TASKYARD_"
_LOG: Final[dict[bool, dict[str, Any]]] = {
    # Podman's own format keeps every byte.
    True: {"Type": "k8s-file"},
    # Docker's default log is JSON, which has no place for bytes that are no UTF-8, and "local"
    # would begin to throw the oldest away at 100 MB.
    False: {
        "Type": "local",
        "Config": {"max-size": "1000g", "max-file": "1", "compress": "false"},
    },
}


class Surroundings(Struct, frozen=True):
    """What a container gets from this worker rather than from its task."""

    installation: str
    boot: str
    is_podman: bool
    network: str | None
    binds: Sequence[str]
    stderr_prefix_bytes: int
    rule: ContainerRule


def container_name(attempt_id: AttemptId) -> str:
    """The name of an attempt's container; there can be one of a name only."""
    return f"taskyard-{attempt_id}"


def environment(assignment: Assignment, work: Container) -> list[str]:
    """All variables: what the task gives wins, but for the attempt's own id."""
    variables: dict[str, str] = {
        "TASKYARD_TASK_ID": assignment.task_id,
        "TASKYARD_ATTEMPT": str(assignment.number),
        "TASKYARD_GROUP": assignment.group,
        "TASKYARD_WORKSPACE": assignment.workspace,
    }
    for name in work.inherited_env:
        # Settings of the server, which may be credentials, are nobody's business.
        if name in os.environ and not name.startswith(_OWN):
            variables[name] = os.environ[name]
    variables |= dict.fromkeys(work.hostname_env, socket.gethostname())
    variables |= {name: value for name, value in work.env.items() if isinstance(value, str)}
    variables["TASKYARD_ATTEMPT_ID"] = assignment.attempt_id
    return [f"{name}={value}" for name, value in variables.items()]


def creation(
    assignment: Assignment, work: Container, image: ImageName, around: Surroundings
) -> dict[str, Any]:
    """The body of ``POST /containers/create``."""
    body: dict[str, Any] = {
        "Image": str(image),
        "Env": environment(assignment, work),
        "Labels": _labels(assignment, work.labels, around),
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "HostConfig": _host(assignment, work, around),
    }
    if work.args:
        body["Cmd"] = list(work.args)
    if work.entrypoint is not None:
        body["Entrypoint"] = list(work.entrypoint)
    if work.cwd is not None:
        body["WorkingDir"] = work.cwd
    if work.user is not None:
        body["User"] = work.user
    if work.stdin is not None:
        body |= {"AttachStdin": True, "OpenStdin": True, "StdinOnce": True}
    return body


def _labels(
    assignment: Assignment, given: Mapping[str, str], around: Surroundings
) -> dict[str, str]:
    return {
        **given,
        ATTEMPT_LABEL: assignment.attempt_id,
        TASK_LABEL: assignment.task_id,
        INSTALLATION_LABEL: around.installation,
        PREFIX_LABEL: str(around.stderr_prefix_bytes),
        BOOT_LABEL: around.boot,
    }


def _host(assignment: Assignment, work: Container, around: Surroundings) -> dict[str, Any]:
    host: dict[str, Any] = {
        "LogConfig": _LOG[around.is_podman],
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        # Never the machine's, whatever the engine does by default.
        "IpcMode": "private",
        "CgroupnsMode": "private",
        **_limits(assignment, around.rule.pids),
    }
    network = work.network or around.network
    if network is not None:
        host["NetworkMode"] = network
    if around.binds:
        host["Binds"] = list(around.binds)
    if work.hosts:
        host["ExtraHosts"] = [f"{name}:{address}" for name, address in work.hosts.items()]
    if work.read_only:
        host |= {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"}}  # noqa: S108 - inside
    host |= _privileges(work, around.rule)
    if work.devices:
        host["Devices"] = [
            {
                "PathOnHost": one.host,
                "PathInContainer": one.container,
                "CgroupPermissions": one.permissions,
            }
            for one in work.devices
        ]
    if work.device_requests:
        host["DeviceRequests"] = [
            {
                "Driver": one.driver,
                "Count": one.count,
                "DeviceIDs": list(one.ids),
                "Capabilities": [list(some) for some in one.capabilities],
                "Options": one.options,
            }
            for one in work.device_requests
        ]
    if work.open_files is not None:
        limit = {"Name": "nofile", "Soft": work.open_files, "Hard": work.open_files}
        host["Ulimits"] = [limit]
    return host


def _privileges(work: Container, rule: ContainerRule) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if not work.privileged_defaults:
        found["CapDrop"] = ["ALL"]
    elif withheld := rule.withheld():
        found["CapDrop"] = withheld
    if not (work.privileged_defaults and rule.new_privileges):
        found["SecurityOpt"] = ["no-new-privileges"]
    if work.capabilities:
        found["CapAdd"] = list(work.capabilities)
    return found


def _limits(assignment: Assignment, most_pids: int | None) -> dict[str, Any]:
    resources = assignment.resources
    limits: dict[str, Any] = {}
    if assignment.cpuset:
        limits["CpusetCpus"] = ",".join(map(str, assignment.cpuset))
    if assignment.memory_nodes:
        limits["CpusetMems"] = ",".join(map(str, assignment.memory_nodes))
    if resources.cpu_millis is not None:
        limits["NanoCpus"] = resources.cpu_millis * 1_000_000
    if resources.memory_bytes is not None:
        # As much with swap as without: none.
        limits |= {"Memory": resources.memory_bytes, "MemorySwap": resources.memory_bytes}
    pids = resources.pids or most_pids
    if pids is not None:
        limits["PidsLimit"] = pids
    return limits


def confinement(assignment: Assignment) -> Confinement:
    """The user that a container asked for; the engine sees to the rest."""
    work = assignment.work
    return Confinement((isinstance(work, Container) and work.user) or "", "container")
