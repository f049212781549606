"""Wire forms of what clients send. The dialect's own words stop here.

Everything that may be missing or null has a default, so that all violations of a body can be told
at once by the checks; what cannot be read at all is refused while decoding.
"""

from enum import StrEnum
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from taskyard.dialects.drove.units import Duration


class _AnyCase(StrEnum):
    """Values are read whatever their case, and written in capitals."""

    @classmethod
    def _missing_(cls, value: object) -> "_AnyCase | None":
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


class VolumeMode(_AnyCase):
    """How a volume is mounted."""

    READ_WRITE = "READ_WRITE"
    READ_ONLY = "READ_ONLY"


class FailureStrategy(_AnyCase):
    """Taken, and of no meaning for tasks."""

    STOP = "STOP"
    ROLLBACK = "ROLLBACK"


class HttpVerb(_AnyCase):
    """Of a configuration that is fetched."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"


class Protocol(_AnyCase):
    """Of a configuration that is fetched."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


class Permissions(_AnyCase):
    """On a device."""

    READ_ONLY = "READ_ONLY"
    WRITE_ONLY = "WRITE_ONLY"
    MKNOD_ONLY = "MKNOD_ONLY"
    READ_WRITE = "READ_WRITE"
    ALL = "ALL"


class RuleType(_AnyCase):
    """Language of a rule."""

    HOPE = "HOPE"
    MVEL = "MVEL"


class Combiner(_AnyCase):
    """How the parts of a composite policy go together."""

    AND = "AND"
    OR = "OR"


class Executable(Struct):
    """What to run; images only."""

    type: Literal["DOCKER"] = "DOCKER"
    url: str | None = None
    dockerPullTimeout: Duration | None = None  # noqa: N815 - on the wire


class Cpu(Struct, tag="CPU", tag_field="type"):
    """Whole cores."""

    count: int = 0


class Memory(Struct, tag="MEMORY", tag_field="type"):
    """Memory in MB."""

    sizeInMB: int = 0  # noqa: N815 - on the wire


class Volume(Struct):
    """A directory of the host."""

    pathInContainer: str | None = None  # noqa: N815 - on the wire
    pathOnHost: str | None = None  # noqa: N815 - on the wire
    mode: VolumeMode | None = None


class Http(Struct):
    """Where a configuration is fetched from."""

    protocol: Protocol = Protocol.HTTP
    hostname: str | None = None
    port: int = 0
    path: str | None = None
    verb: HttpVerb = HttpVerb.GET
    successCodes: list[int] | None = None  # noqa: N815 - on the wire
    payload: str | None = None
    connectionTimeout: Duration | None = None  # noqa: N815 - on the wire
    operationTimeout: Duration | None = None  # noqa: N815 - on the wire
    username: str | None = None
    password: str | None = None
    authHeader: str | None = None  # noqa: N815 - on the wire
    headers: dict[str, str] | None = None
    insecure: bool = False


class InlineConfig(Struct, tag="INLINE", tag_field="type"):
    """A file that comes along."""

    localFilename: str | None = None  # noqa: N815 - on the wire
    data: str | None = None


class HostFileConfig(Struct, tag="EXECUTOR_LOCAL_FILE", tag_field="type"):
    """A file of the executor's machine."""

    localFilename: str | None = None  # noqa: N815 - on the wire
    filePathOnHost: str | None = None  # noqa: N815 - on the wire


class ControllerFetchConfig(Struct, tag="CONTROLLER_HTTP_FETCH", tag_field="type"):
    """A file that the controller fetches."""

    localFilename: str | None = None  # noqa: N815 - on the wire
    http: Http | None = None


class ExecutorFetchConfig(Struct, tag="EXECUTOR_HTTP_FETCH", tag_field="type"):
    """A file that the executor fetches."""

    localFilename: str | None = None  # noqa: N815 - on the wire
    http: Http | None = None


Config = InlineConfig | HostFileConfig | ControllerFetchConfig | ExecutorFetchConfig


class AnyHost(Struct, tag="ANY", tag_field="type"):
    """Every executor."""


class OnePerHost(Struct, tag="ONE_PER_HOST", tag_field="type"):
    """One of an application on an executor."""


class MaxPerHost(Struct, tag="MAX_N_PER_HOST", tag_field="type"):
    """So many of an application on an executor."""

    max: int = 0


class MatchTag(Struct, tag="MATCH_TAG", tag_field="type"):
    """Executors with a tag."""

    tag: str | None = None


class NoTag(Struct, tag="NO_TAG", tag_field="type"):
    """Executors without tags."""


class RuleBased(Struct, tag="RULE_BASED", tag_field="type"):
    """Executors for which a rule holds."""

    rule: str | None = None
    ruleType: RuleType | None = None  # noqa: N815 - on the wire


class Composite(Struct, tag="COMPOSITE", tag_field="type"):
    """All or any of these."""

    policies: "list[WirePolicy] | None" = None
    combiner: Combiner | None = None


class Local(Struct, tag="LOCAL", tag_field="type"):
    """For another kind of workload; refused for tasks."""

    hostLevel: bool = False  # noqa: N815 - on the wire


WirePolicy = AnyHost | OnePerHost | MaxPerHost | MatchTag | NoTag | RuleBased | Composite | Local


class LocalLogging(Struct, tag="LOCAL", tag_field="type"):
    """How much output is kept."""

    maxSize: str | None = None  # noqa: N815 - on the wire
    maxFiles: int = 3  # noqa: N815 - on the wire
    compress: bool = False


class SyslogLogging(Struct, tag="RSYSLOG", tag_field="type"):
    """Output for a log server."""

    server: str | None = None
    tagPrefix: str | None = None  # noqa: N815 - on the wire
    tagSuffix: str | None = None  # noqa: N815 - on the wire


class DirectDevice(Struct, tag="DIRECT", tag_field="type"):
    """A device file."""

    pathOnHost: str | None = None  # noqa: N815 - on the wire
    pathInContainer: str | None = None  # noqa: N815 - on the wire
    permissions: Permissions = Permissions.ALL


class DetailedDevice(Struct, tag="DETAILED", tag_field="type"):
    """What a driver of the engine provides."""

    driver: str | None = None
    count: int = 0
    deviceIds: list[str] | None = None  # noqa: N815 - on the wire
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class UserSpec(Struct):
    """Who runs inside."""

    user: str | None = None
    group: str | None = None


class WireSpec(Struct):
    """A task as its client describes it."""

    sourceAppName: str | None = None  # noqa: N815 - on the wire
    taskId: str | None = None  # noqa: N815 - on the wire
    executable: Executable | None = None
    resources: list[Cpu | Memory] | None = None
    volumes: list[Volume] | None = None
    configs: list[Config] | None = None
    placementPolicy: WirePolicy | None = None  # noqa: N815 - on the wire
    env: dict[str, str] | None = None
    args: list[str] | None = None
    tags: dict[str, str] | None = None
    logging: LocalLogging | SyslogLogging | None = None
    devices: list[DirectDevice | DetailedDevice] | None = None
    userSpec: UserSpec | None = None  # noqa: N815 - on the wire


class OpSpec(Struct):
    """Limits of an operation."""

    timeout: Duration | None = None
    parallelism: int = 0
    failureStrategy: FailureStrategy | None = None  # noqa: N815 - on the wire


class Create(Struct, tag="CREATE", tag_field="type"):
    """Run a task."""

    spec: WireSpec | None = None
    opSpec: OpSpec | None = None  # noqa: N815 - on the wire


class Kill(Struct, tag="KILL", tag_field="type"):
    """End a task."""

    sourceAppName: str | None = None  # noqa: N815 - on the wire
    taskId: str | None = None  # noqa: N815 - on the wire
    opSpec: OpSpec | None = None  # noqa: N815 - on the wire


Operation = Create | Kill


def decode_hook(kind: type[Any], value: Any) -> Any:
    """Reads what the decoder itself does not know. Raises ``ValueError``."""
    if kind is Duration and isinstance(value, str):
        return Duration.parse(value)
    raise ValueError(f"expected `{kind.__name__.lower()}`, got `{type(value).__name__}`")


operation_decoder: Final = msgspec.json.Decoder(Operation | None, dec_hook=decode_hook)
spec_decoder: Final = msgspec.json.Decoder(WireSpec | None, dec_hook=decode_hook)
