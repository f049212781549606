"""Translates the task that a client describes into one of the engine."""

import fnmatch
from typing import Any, Final

import msgspec

from taskyard.core.ids import GroupName
from taskyard.core.instants import Instant, after
from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import Policy
from taskyard.core.syslog import parse_server
from taskyard.core.tasks import (
    Container,
    ContainerFile,
    Device,
    DeviceRequest,
    PullPolicy,
    SecretRef,
    Syslog,
    TaskSpec,
    Volume,
)
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.identities import key_of, new_instance_id
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.drove.units import Duration, log_bytes
from taskyard.dialects.drove.validation import asked_of
from taskyard.dialects.drove.views import MEBI, RECORD, Given
from taskyard.services.tasks.validation import PULL_TIMEOUT_S

_PULL_TIMEOUT: Final = Duration(15, "minute")
_LAST_BYTES: Final = 10 << 20
"""The size of a file where nothing is said of it, as in the original."""
_PERMISSIONS: Final = {
    wire.Permissions.READ_ONLY: "r",
    wire.Permissions.WRITE_ONLY: "w",
    wire.Permissions.MKNOD_ONLY: "m",
    wire.Permissions.READ_WRITE: "rw",
    wire.Permissions.ALL: "rwm",
}


_PATHS: Final = {
    "image": "executable.url",
    "command": "args",
    "user": "userSpec",
    "container.volumes": "volumes",
    "container.devices": "devices",
    "container.syslog.server": "logging.server",
    "container.pull_timeout_s": "executable.dockerPullTimeout",
    "placement": "placementPolicy",
    "resources.cores": "resources",
    "group": "sourceAppName",
    "name": "taskId",
}


def wire_path(field: str) -> str:
    """The member of a body that a field of the engine's specification comes from."""
    return _PATHS.get(field, field)


def spec_of(
    spec: wire.WireSpec,
    policy: Policy,
    settings: DroveSettings,
    fetched: dict[str, str],
    now: Instant,
) -> TaskSpec:
    """The specification of a checked task.

    Args:
        spec: what the client sent.
        policy: where it may go.
        settings: of the dialect.
        fetched: contents of configurations that come from elsewhere, base64, by file name.
        now: when it is created; it has to be placed soon after, or never.
    """
    app, name = spec.sourceAppName or "", spec.taskId or ""
    executable = spec.executable or wire.Executable()
    image = executable.url or ""
    pull = executable.dockerPullTimeout or _PULL_TIMEOUT
    given = Given(
        instance=new_instance_id(),
        pull_timeout=str(pull),
        volumes=_shown_volumes(spec.volumes),
        env=spec.env,
        logging=_shown_logging(spec.logging),
    )
    asked, forwarded = _environment(spec.env or {}, settings)
    injected = {
        "DROVE_CONTAINER_ID": image,
        "DROVE_TASK_ID": name,
        "DROVE_INSTANCE_ID": given.instance,
        "DROVE_SOURCE_APP_NAME": app,
    }
    env: dict[str, str | SecretRef] = {**asked, **injected}
    hosts = ["HOST", "DROVE_EXECUTOR_HOST"]
    env.pop("DROVE_EXECUTOR_HOST", None)
    if "HOST" in (spec.env or {}):
        hosts.remove("HOST")
    devices, requests = _devices(spec.devices)
    cores, memory_mb = asked_of(spec)
    work = Container(
        image=image,
        args=tuple(spec.args or ()),
        env=env,
        user=_user(spec.userSpec) or settings.default_user,
        pull=PullPolicy(settings.pull),
        pull_timeout_s=min(max(0.001, pull.seconds), PULL_TIMEOUT_S),
        volumes=tuple(_volume(one) for one in spec.volumes or ()),
        read_only=False,
        privileged_defaults=True,
        merge_output=True,
        inherited_env=tuple(forwarded),
        hostname_env=tuple(hosts),
        files=tuple(_file(one, fetched) for one in spec.configs or ()),
        devices=devices,
        device_requests=requests,
        open_files=settings.open_files or None,
        keep_last_bytes=_last_bytes(spec.logging),
        syslog=_syslog(spec.logging, given.instance),
    )
    return TaskSpec(
        work=work,
        group=GroupName(app),
        name=name,
        resources=Resources(cores=cores, memory_bytes=memory_mb * MEBI),
        placement=policy,
        kill_signal="SIGKILL",
        kill_grace_s=0.0,
        expires_at=after(now, settings.placement_wait_s),
        idempotency_key=key_of(app, name),
        rerun_if_lost=False,
        log_limit_bytes=_log_limit(spec.logging),
        metadata={RECORD: msgspec.to_builtins(given)},
    )


def _environment(env: dict[str, str], settings: DroveSettings) -> tuple[dict[str, str], list[str]]:
    """Variables with values, and those whose values the worker has; others are left out."""
    values = {name: value for name, value in env.items() if value}
    forwarded = [
        name
        for name, value in env.items()
        if not value and any(fnmatch.fnmatchcase(name, one) for one in settings.forward_env)
    ]
    return values, forwarded


def _user(user: wire.UserSpec | None) -> str | None:
    if user is None or not user.user:
        return None
    return f"{user.user}:{user.group}" if user.group else user.user


def _volume(volume: wire.Volume) -> Volume:
    return Volume(
        volume.pathOnHost or "",
        volume.pathInContainer or "",
        read_only=volume.mode is not wire.VolumeMode.READ_WRITE,
    )


def _file(config: wire.Config, fetched: dict[str, str]) -> ContainerFile:
    name = config.localFilename or ""
    if isinstance(config, wire.InlineConfig):
        return ContainerFile(name, data=config.data)
    if isinstance(config, wire.HostFileConfig):
        return ContainerFile(name, host=config.filePathOnHost)
    return ContainerFile(name, data=fetched[name])


def _devices(
    devices: list[wire.DirectDevice | wire.DetailedDevice] | None,
) -> tuple[tuple[Device, ...], tuple[DeviceRequest, ...]]:
    direct, requests = [], []
    for one in devices or ():
        if isinstance(one, wire.DirectDevice):
            host = one.pathOnHost or ""
            inside = one.pathInContainer or host
            direct.append(Device(host, inside, _PERMISSIONS[one.permissions]))
        else:
            requests.append(
                DeviceRequest(
                    one.driver or "",
                    one.count,
                    tuple(one.deviceIds or ()),
                    tuple(tuple(some) for some in one.capabilities or ()),
                    one.options or {},
                )
            )
    return tuple(direct), tuple(requests)


def _syslog(logging: wire.LocalLogging | wire.SyslogLogging | None, instance: str) -> Syslog | None:
    if not isinstance(logging, wire.SyslogLogging):
        return None
    tag = f"{logging.tagPrefix or ''}{instance}{logging.tagSuffix or ''}"
    return Syslog(str(parse_server(logging.server or "")), tag)


def _log_limit(logging: wire.LocalLogging | wire.SyslogLogging | None) -> int | None:
    """What is kept from the beginning on."""
    if not isinstance(logging, wire.LocalLogging):
        return None
    size = log_bytes(logging.maxSize or "")
    return None if size is None else size * logging.maxFiles


def _last_bytes(logging: wire.LocalLogging | wire.SyslogLogging | None) -> int:
    """What is kept of the end besides: a file's worth."""
    size = log_bytes(logging.maxSize or "") if isinstance(logging, wire.LocalLogging) else None
    return _LAST_BYTES if size is None else size


def _shown_volumes(volumes: list[wire.Volume] | None) -> list[dict[str, str]] | None:
    if volumes is None:
        return None
    return [
        {
            "pathInContainer": one.pathInContainer or "",
            "pathOnHost": one.pathOnHost or "",
            "mode": (one.mode or wire.VolumeMode.READ_ONLY).value,
        }
        for one in volumes
    ]


def _shown_logging(
    logging: wire.LocalLogging | wire.SyslogLogging | None,
) -> dict[str, Any] | None:
    if logging is None:
        return None
    shown: dict[str, Any] = msgspec.to_builtins(logging)
    return {name: value for name, value in shown.items() if value is not None}
