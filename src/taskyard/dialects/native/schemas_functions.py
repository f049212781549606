"""Wire form of functions, versions and builds."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from taskyard.core.functions.functions import BuildState, Language
from taskyard.dialects.native.paging import DEFAULT_LIMIT, MAX_LIMIT
from taskyard.dialects.native.schemas_submit import MemorySize
from taskyard.dialects.native.schemas_tasks import When

Wait = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,4}(\.[0-9]{1,3})?(s|ms)?$",
        description="How long to wait, at most 60 s, such as `30s` or `500ms`.",
    ),
]
Requirement = Annotated[str, Meta(min_length=1, max_length=255)]
FunctionTag = Annotated[str, Meta(min_length=1, max_length=64)]


class FunctionLimits(Struct, forbid_unknown_fields=True):
    """Limits of one call; those left out keep their defaults."""

    timeout_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 10.0
    cpu: Annotated[float, Meta(ge=0.01, le=1024)] | None = None
    """Cores."""
    memory: MemorySize | None = None
    privileged: bool = False
    """Recorded, without any effect."""


class DeployedFunction(Struct, forbid_unknown_fields=True):
    """What to deploy: ``source``, one file of text; ``archive``, a zip or tar file in base64; or
    ``image``, the name of a container image.
    """

    source: Annotated[str, Meta(max_length=16 << 20)] | None = None
    archive: bytes | None = None
    image: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    """Pulled by the worker; excludes `handler` and `dependencies`, and needs no `language`."""
    credentials: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    """Name of a secret with credentials for the image's registry."""
    language: Language | None = None
    """Required for a new function."""
    handler: Annotated[str, Meta(max_length=255)] = ""
    """Path of the file with the handler; detected if empty."""
    entry: Annotated[str, Meta(max_length=255)] = "handle"
    dependencies: Annotated[list[Requirement], Meta(max_length=256)] = []
    title: Annotated[str, Meta(max_length=255)] | None = None
    description: Annotated[str, Meta(max_length=4096)] | None = None
    tags: Annotated[list[FunctionTag], Meta(max_length=64)] | None = None
    limits: FunctionLimits | None = None


class CallRequestAnswer(Struct):
    """The request of a function call; values that look secret are hidden."""

    method: str
    query: str
    headers: dict[str, str]
    """Values of one name are joined by commas."""
    body: str | None
    """The body if it is text."""
    body_base64: str | None
    """The body if it is not."""


class FunctionPatch(Struct, forbid_unknown_fields=True):
    """Changes to a function; its code changes by deploying."""

    title: Annotated[str, Meta(max_length=255)] | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=4096)] | UnsetType = UNSET
    tags: Annotated[list[FunctionTag], Meta(max_length=64)] | UnsetType = UNSET
    limits: FunctionLimits | UnsetType = UNSET


class RollBack(Struct, forbid_unknown_fields=True):
    """The version that new calls use; by default the last one built before the live one."""

    version: Annotated[int, Meta(ge=1, le=1 << 31)] | None = None


class FunctionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which functions to list."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(min_length=1, max_length=1024)] = ""
    tag: FunctionTag = ""
    deleted: bool = False
    """Deleted functions, which can be restored."""


class DeployQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What is not in the body of a raw archive, and how long to wait for the build."""

    wait: Wait = "0s"
    language: Annotated[str, Meta(max_length=32)] = ""
    handler: Annotated[str, Meta(max_length=255)] = ""


class FunctionLimitsAnswer(Struct):
    """Limits of one call."""

    timeout_s: float
    cpu: float | None
    memory: int | None
    privileged: bool


class FunctionAnswer(Struct):
    """A function."""

    id: str
    name: str
    workspace: str
    title: str
    description: str
    language: Language
    tags: tuple[str, ...]
    limits: FunctionLimitsAnswer
    live_version: int | None
    """What new calls use; null until a build has succeeded."""
    last_version: int
    paused: bool
    group: str
    """The group its calls are filed under."""
    created_at: When
    updated_at: When
    deleted_at: When | None


class FunctionPageAnswer(Struct):
    """A page of functions, oldest first."""

    items: list[FunctionAnswer]
    next_cursor: str | None


class FunctionVersionAnswer(Struct):
    """One deployed version of a function."""

    number: int
    state: BuildState
    live: bool
    language: Language
    handler: str
    entry: str
    dependencies: tuple[str, ...]
    bundle: str
    """SHA-256 of what was uploaded."""
    size_bytes: int
    created_at: When
    created_by: str
    finished_at: When | None
    message: str | None
    """Why its build failed."""
    image: str | None
    """The image that was deployed; null for source."""
    digest: str | None
    """Digest of the image when it was pulled; calls run exactly that image."""


class DeployedAnswer(Struct):
    """The function, and its new version."""

    function: FunctionAnswer
    version: FunctionVersionAnswer


class FunctionVersionPageAnswer(Struct):
    """A page of versions, newest first."""

    items: list[FunctionVersionAnswer]
    next_cursor: str | None
