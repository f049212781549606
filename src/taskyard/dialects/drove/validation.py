"""What a task has to fulfil: the form of its members, and beyond that what is allowed and has room.

Violations of the form are told all together, each led by its path.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final, assert_never

from taskyard.core.scheduling.policies import Policy
from taskyard.core.syslog import parse_server, problem_of_tag
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.errors import ValidationFailed
from taskyard.dialects.drove.executors import Executor, capacity_problems, present
from taskyard.dialects.drove.placement import (
    LocalRefused,
    RuleRefused,
    check_policy,
    engine_policy,
    without_rules,
)
from taskyard.dialects.drove.ruledata import RuleData
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.drove.units import Duration, log_bytes
from taskyard.services.engine import Engine

ARGS_LIMIT: Final = 2048
PARALLELISM_LIMIT: Final = 512
FILES_LIMIT: Final = 100
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]*\Z", re.ASCII)
_NAME_LENGTH: Final = 255
_TAG_PART: Final = 100
_NULL: Final = "must not be null"
_EMPTY: Final = "must not be empty"
_MOST_CORES: Final = 10_000
_MOST_MB: Final = 1 << 40


class Violations:
    """Gathers what is wrong with a body."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, path: str, reason: str) -> None:
        """One violation."""
        self.problems.append(f"{path} {reason}")

    def require(self, path: str, value: object | None) -> bool:
        """It has to be there; whether it is."""
        if value is None:
            self.say(path, _NULL)
        return value is not None

    def filled(self, path: str, value: str | Sequence[object] | None) -> bool:
        """It has to have something in it; whether it has."""
        if not value:
            self.say(path, _EMPTY)
        return bool(value)

    def name(self, path: str, value: str | None) -> None:
        """An application's name, or a task's."""
        if not self.filled(path, value) or value is None:
            return
        if not _NAME.match(value):
            self.say(path, 'must match "[a-zA-Z0-9_-]*"')
        elif len(value) > _NAME_LENGTH:
            self.say(path, f"size must be between 1 and {_NAME_LENGTH}")

    def within(self, path: str, value: int, least: int, most: int) -> None:
        """A number's range."""
        if value < least:
            self.say(path, f"must be greater than or equal to {least}")
        elif value > most:
            self.say(path, f"must be less than or equal to {most}")


def operation_problems(operation: wire.Operation | None) -> list[str]:
    """What is wrong with an operation; nothing if all is well."""
    found = Violations()
    if operation is None:
        found.say("The request body", _NULL)
        return found.problems
    if isinstance(operation, wire.Create):
        if found.require("spec", operation.spec) and operation.spec is not None:
            _check_spec(found, "spec.", operation.spec)
    else:
        found.filled("sourceAppName", operation.sourceAppName)
        found.filled("taskId", operation.taskId)
    limits = operation.opSpec
    if found.require("opSpec", limits) and limits is not None:
        found.require("opSpec.timeout", limits.timeout)
        found.within("opSpec.parallelism", limits.parallelism, 1, PARALLELISM_LIMIT)
        found.require("opSpec.failureStrategy", limits.failureStrategy)
    return found.problems


def spec_problems(spec: wire.WireSpec | None) -> list[str]:
    """What is wrong with a task that is only to be looked at."""
    found = Violations()
    if spec is None:
        found.say("The request body", _NULL)
    else:
        _check_spec(found, "", spec)
    return found.problems


def _check_spec(found: Violations, at: str, spec: wire.WireSpec) -> None:
    found.name(f"{at}sourceAppName", spec.sourceAppName)
    found.name(f"{at}taskId", spec.taskId)
    if found.require(f"{at}executable", spec.executable) and spec.executable is not None:
        found.filled(f"{at}executable.url", spec.executable.url)
        _check_duration(
            found, f"{at}executable.dockerPullTimeout", spec.executable.dockerPullTimeout
        )
    _check_resources(found, f"{at}resources", spec.resources)
    for number, volume in enumerate(spec.volumes or ()):
        path = f"{at}volumes[{number}]"
        _check_path(found, f"{path}.pathInContainer", volume.pathInContainer)
        _check_path(found, f"{path}.pathOnHost", volume.pathOnHost)
        found.require(f"{path}.mode", volume.mode)
    for number, config in enumerate(spec.configs or ()):
        _check_config(found, f"{at}configs[{number}]", config)
    if spec.placementPolicy is not None:
        check_policy(found.say, f"{at}placementPolicy", spec.placementPolicy)
    args = spec.args or []
    if len(args) > ARGS_LIMIT:
        found.say(f"{at}args", f"size must be between 0 and {ARGS_LIMIT}")
    if spec.logging is not None:
        _check_logging(found, f"{at}logging", spec.logging)
    for number, device in enumerate(spec.devices or ()):
        path = f"{at}devices[{number}]"
        if isinstance(device, wire.DirectDevice):
            _check_path(found, f"{path}.pathOnHost", device.pathOnHost)
    if spec.userSpec is not None:
        found.filled(f"{at}userSpec.user", spec.userSpec.user)


def _check_duration(found: Violations, path: str, duration: Duration | None) -> None:
    if found.require(path, duration) and duration is not None and duration.seconds <= 0:
        found.say(path, "must be greater than 0")


def _check_path(found: Violations, path: str, value: str | None) -> None:
    if found.filled(path, value) and value is not None and "\0" in value:
        found.say(path, "contains a NUL character")


def _check_resources(
    found: Violations, path: str, resources: list[wire.Cpu | wire.Memory] | None
) -> None:
    if not found.filled(path, resources) or resources is None:
        return
    kinds = set()
    for number, one in enumerate(resources):
        if isinstance(one, wire.Cpu):
            kinds.add("CPU")
            found.within(f"{path}[{number}].count", one.count, 1, _MOST_CORES)
        else:
            kinds.add("MEMORY")
            found.within(f"{path}[{number}].sizeInMB", one.sizeInMB, 1, _MOST_MB)
    for kind in ("CPU", "MEMORY"):
        if kind not in kinds:
            found.say(path, f"must have an element of type {kind}")


def _check_config(found: Violations, path: str, config: wire.Config) -> None:
    name = config.localFilename
    if found.filled(f"{path}.localFilename", name) and name is not None and not _is_file(name):
        found.say(f"{path}.localFilename", "must be an absolute path of a file")
    match config:
        case wire.InlineConfig(data=data):
            if found.filled(f"{path}.data", data) and data is not None and not _is_base64(data):
                found.say(f"{path}.data", "must be base64")
        case wire.HostFileConfig(filePathOnHost=host):
            _check_path(found, f"{path}.filePathOnHost", host)
        case wire.ControllerFetchConfig(http=http) | wire.ExecutorFetchConfig(http=http):
            if found.require(f"{path}.http", http) and http is not None:
                found.filled(f"{path}.http.hostname", http.hostname)
                found.within(f"{path}.http.port", http.port, 0, 65_535)
        case _ as never:
            assert_never(never)


def _is_file(name: str) -> bool:
    parts = name.split("/")
    return name.startswith("/") and "\0" not in name and parts[-1] != "" and ".." not in parts


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _check_logging(
    found: Violations, path: str, logging: wire.LocalLogging | wire.SyslogLogging
) -> None:
    if isinstance(logging, wire.SyslogLogging):
        _check_syslog(found, path, logging)
        return
    found.within(f"{path}.maxFiles", logging.maxFiles, 1, FILES_LIMIT)
    size = logging.maxSize
    if found.filled(f"{path}.maxSize", size) and size is not None and log_bytes(size) is None:
        found.say(f"{path}.maxSize", 'must be a number and a unit, such as "10m"')


def _check_syslog(found: Violations, path: str, logging: wire.SyslogLogging) -> None:
    if found.filled(f"{path}.server", logging.server):
        try:
            parse_server(logging.server or "")
        except ValueError as error:
            found.say(f"{path}.server", str(error))
    for name, part in (("tagPrefix", logging.tagPrefix), ("tagSuffix", logging.tagSuffix)):
        if part is None:
            continue
        problem = problem_of_tag(part)
        if problem is not None or len(part) > _TAG_PART:
            found.say(f"{path}.{name}", problem or f"has more than {_TAG_PART} characters")
        elif "{{" in part:
            found.say(f"{path}.{name}", "is taken as it is; templates are not known here")


def asked_of(spec: wire.WireSpec) -> tuple[int, int]:
    """Cores and MB in all; several of one kind are summed."""
    resources = spec.resources or ()
    return (
        sum(one.count for one in resources if isinstance(one, wire.Cpu)),
        sum(one.sizeInMB for one in resources if isinstance(one, wire.Memory)),
    )


def check_allowed(engine: Engine, settings: DroveSettings, spec: wire.WireSpec) -> Policy:
    """The engine's policy for a well-formed task.

    Raises :class:`ValidationFailed` with everything that speaks against it.
    """
    executors = present(engine)
    problems = _switched_off(settings, spec)
    policy: Policy | None = None
    local: list[str] = []
    try:
        policy = policy_of(executors, spec)
    except ValidationFailed as error:
        local = error.problems
    if policy is not None:
        cores, memory_mb = asked_of(spec)
        problems += capacity_problems(executors, without_rules(policy), cores, memory_mb)
    problems += local
    if problems or policy is None:
        raise ValidationFailed(problems)
    return policy


def policy_of(executors: Sequence[Executor], spec: wire.WireSpec) -> Policy:
    """The engine's policy for a well-formed task. Raises :class:`ValidationFailed`."""
    data = RuleData(spec.env or {}, {one.id: one.record.id for one in executors})
    try:
        return engine_policy(spec.placementPolicy, data)
    except (LocalRefused, RuleRefused) as error:
        raise ValidationFailed([str(error)]) from error


def _switched_off(settings: DroveSettings, spec: wire.WireSpec) -> list[str]:
    problems = [
        f"Volume mount requested on non whitelisted host directory: {volume.pathOnHost}"
        for volume in spec.volumes or ()
        if not _is_below(volume.pathOnHost or "", settings.allowed_mount_dirs or ())
    ]
    args = spec.args or []
    if args and not settings.args:
        problems.append("Passing command line args is disabled on this cluster")
    elif len(" ".join(args)) > ARGS_LIMIT:
        problems.append(f"args have more than {ARGS_LIMIT} characters when they are joined")
    if spec.devices and not settings.devices:
        problems.append("Device access is disabled on this cluster")
    problems += [
        f"Config {config.localFilename}: {config.filePathOnHost} is in no directory that "
        "configurations may be taken from"
        for config in spec.configs or ()
        if isinstance(config, wire.HostFileConfig)
        and not _is_below(config.filePathOnHost or "", settings.config_dirs)
    ]
    return problems


def _is_below(path: str, directories: tuple[str, ...]) -> bool:
    """Whether a path is one of these directories or in one of them, as it is written."""
    asked = PurePosixPath(path)
    return ".." not in asked.parts and any(asked.is_relative_to(one) for one in directories)
