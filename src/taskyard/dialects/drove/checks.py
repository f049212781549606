"""The constraints on the members of a body: all violations together, each led by its path."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Final, assert_never

from taskyard.core.syslog import parse_server, problem_of_tag
from taskyard.dialects.drove import schemas as wire
from taskyard.dialects.drove.durations import Duration
from taskyard.dialects.drove.placement import check_policy
from taskyard.dialects.drove.sizes import log_bytes

ARGS_LIMIT: Final = 2048
PARALLELISM_LIMIT: Final = 512
FILES_LIMIT: Final = 100
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]*\Z", re.ASCII)
_NAME_LENGTH: Final = 255
_TAG_PART: Final = 100
_NULL: Final = "must not be null"
_EMPTY: Final = "must not be empty"
_MEBI: Final = 1 << 20
_MOST_CORES: Final = 10_000
_MOST_MB: Final = 1 << 40


class Checks:
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
    checks = Checks()
    if operation is None:
        checks.say("The request body", _NULL)
        return checks.problems
    if isinstance(operation, wire.Create):
        if checks.require("spec", operation.spec) and operation.spec is not None:
            _check_spec(checks, "spec.", operation.spec)
    else:
        checks.filled("sourceAppName", operation.sourceAppName)
        checks.filled("taskId", operation.taskId)
    limits = operation.opSpec
    if checks.require("opSpec", limits) and limits is not None:
        checks.require("opSpec.timeout", limits.timeout)
        checks.within("opSpec.parallelism", limits.parallelism, 1, PARALLELISM_LIMIT)
        checks.require("opSpec.failureStrategy", limits.failureStrategy)
    return checks.problems


def spec_problems(spec: wire.WireSpec | None) -> list[str]:
    """What is wrong with a task that is only to be looked at."""
    checks = Checks()
    if spec is None:
        checks.say("The request body", _NULL)
    else:
        _check_spec(checks, "", spec)
    return checks.problems


def _check_spec(checks: Checks, at: str, spec: wire.WireSpec) -> None:
    checks.name(f"{at}sourceAppName", spec.sourceAppName)
    checks.name(f"{at}taskId", spec.taskId)
    if checks.require(f"{at}executable", spec.executable) and spec.executable is not None:
        checks.filled(f"{at}executable.url", spec.executable.url)
        _check_duration(
            checks, f"{at}executable.dockerPullTimeout", spec.executable.dockerPullTimeout
        )
    _check_resources(checks, f"{at}resources", spec.resources)
    for number, volume in enumerate(spec.volumes or ()):
        path = f"{at}volumes[{number}]"
        _check_path(checks, f"{path}.pathInContainer", volume.pathInContainer)
        _check_path(checks, f"{path}.pathOnHost", volume.pathOnHost)
        checks.require(f"{path}.mode", volume.mode)
    for number, config in enumerate(spec.configs or ()):
        _check_config(checks, f"{at}configs[{number}]", config)
    if spec.placementPolicy is not None:
        check_policy(checks.say, f"{at}placementPolicy", spec.placementPolicy)
    args = spec.args or []
    if len(args) > ARGS_LIMIT:
        checks.say(f"{at}args", f"size must be between 0 and {ARGS_LIMIT}")
    if spec.logging is not None:
        _check_logging(checks, f"{at}logging", spec.logging)
    for number, device in enumerate(spec.devices or ()):
        path = f"{at}devices[{number}]"
        if isinstance(device, wire.DirectDevice):
            _check_path(checks, f"{path}.pathOnHost", device.pathOnHost)
    if spec.userSpec is not None:
        checks.filled(f"{at}userSpec.user", spec.userSpec.user)


def _check_duration(checks: Checks, path: str, duration: Duration | None) -> None:
    if checks.require(path, duration) and duration is not None and duration.seconds <= 0:
        checks.say(path, "must be greater than 0")


def _check_path(checks: Checks, path: str, value: str | None) -> None:
    if checks.filled(path, value) and value is not None and "\0" in value:
        checks.say(path, "contains a NUL character")


def _check_resources(
    checks: Checks, path: str, resources: list[wire.Cpu | wire.Memory] | None
) -> None:
    if not checks.filled(path, resources) or resources is None:
        return
    kinds = set()
    for number, one in enumerate(resources):
        if isinstance(one, wire.Cpu):
            kinds.add("CPU")
            checks.within(f"{path}[{number}].count", one.count, 1, _MOST_CORES)
        else:
            kinds.add("MEMORY")
            checks.within(f"{path}[{number}].sizeInMB", one.sizeInMB, 1, _MOST_MB)
    for kind in ("CPU", "MEMORY"):
        if kind not in kinds:
            checks.say(path, f"must have an element of type {kind}")


def _check_config(checks: Checks, path: str, config: wire.Config) -> None:
    name = config.localFilename
    if checks.filled(f"{path}.localFilename", name) and name is not None and not _is_file(name):
        checks.say(f"{path}.localFilename", "must be an absolute path of a file")
    match config:
        case wire.InlineConfig(data=data):
            if checks.filled(f"{path}.data", data) and data is not None and not _is_base64(data):
                checks.say(f"{path}.data", "must be base64")
        case wire.HostFileConfig(filePathOnHost=host):
            _check_path(checks, f"{path}.filePathOnHost", host)
        case wire.ControllerFetchConfig(http=http) | wire.ExecutorFetchConfig(http=http):
            if checks.require(f"{path}.http", http) and http is not None:
                checks.filled(f"{path}.http.hostname", http.hostname)
                checks.within(f"{path}.http.port", http.port, 0, 65_535)
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
    checks: Checks, path: str, logging: wire.LocalLogging | wire.SyslogLogging
) -> None:
    if isinstance(logging, wire.SyslogLogging):
        _check_syslog(checks, path, logging)
        return
    checks.within(f"{path}.maxFiles", logging.maxFiles, 1, FILES_LIMIT)
    size = logging.maxSize
    if checks.filled(f"{path}.maxSize", size) and size is not None and log_bytes(size) is None:
        checks.say(f"{path}.maxSize", 'must be a number and a unit, such as "10m"')


def _check_syslog(checks: Checks, path: str, logging: wire.SyslogLogging) -> None:
    if checks.filled(f"{path}.server", logging.server):
        try:
            parse_server(logging.server or "")
        except ValueError as error:
            checks.say(f"{path}.server", str(error))
    for name, part in (("tagPrefix", logging.tagPrefix), ("tagSuffix", logging.tagSuffix)):
        if part is None:
            continue
        problem = problem_of_tag(part)
        if problem is not None or len(part) > _TAG_PART:
            checks.say(f"{path}.{name}", problem or f"has more than {_TAG_PART} characters")
        elif "{{" in part:
            checks.say(f"{path}.{name}", "is taken as it is; templates are not known here")
