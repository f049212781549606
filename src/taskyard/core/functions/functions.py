"""Functions: named code in versions, the request of a call, and what a call answered."""

from enum import StrEnum
from typing import Final, NewType

from msgspec import Struct

from taskyard.core.ids import GroupName, WorkspaceName
from taskyard.core.instants import Instant

FunctionId = NewType("FunctionId", str)
"""24 lower-case hex digits, the first 8 the creation time in seconds; sorts by creation."""

GROUP_PREFIX: Final = "function."
BLOB_BYTES: Final = 1 << 20
"""Most that a function may keep from call to call."""


class Language(StrEnum):
    """Language of a function."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    RUBY = "ruby"
    GO = "go"
    RUST = "rust"
    CSHARP = "csharp"
    IMAGE = "image"
    """Whatever is in a container image that speaks the functions' protocol."""


IMAGE_ONLY: Final = {Language.RUST: "Rust", Language.CSHARP: "C#"}
"""Languages without a tool chain, and what people call them: functions in them are images.

Clients of GreenCloud name them, and earlier releases built their source.
"""


def image_advice(language: Language) -> str:
    """What to do instead of deploying source in a language of :data:`IMAGE_ONLY`."""
    return (
        f"functions in {IMAGE_ONLY[language]} are container images; "
        f"`taskyard function init NAME --language {language.value}` writes the source of one"
    )


class BuildState(StrEnum):
    """State of a version's build."""

    PENDING = "pending"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    RETIRED = "retired"
    """It was ready; its files were removed, and it can be built again."""


class Limits(Struct, frozen=True, omit_defaults=True):
    """Limits of one call."""

    timeout_s: float = 10.0
    """Seconds from when the handler begins."""
    cpu_millis: int | None = None
    """Thousandths of a core, reserved and enforced; None for no limit of its own."""
    memory_bytes: int | None = None
    """Reserved and enforced; None for the installation's limit, which is not reserved."""
    privileged: bool = False
    """Recorded and reported; grants nothing."""


class Version(Struct, frozen=True):
    """One deployed version of a function."""

    function_id: FunctionId
    number: int
    """1, 2, 3 …; never used again."""
    state: BuildState
    bundle: str
    """SHA-256 of the bundle, in hex: names its file."""
    size_bytes: int
    language: Language
    handler: str
    """Path of the file with the handler inside the bundle."""
    entry: str
    """Name of the handler in that file."""
    dependencies: tuple[str, ...]
    """Requirements beside those that the bundle itself lists."""
    created_at: Instant
    created_by: str = ""
    finished_at: Instant | None = None
    """When its build ended."""
    message: str | None = None
    """Why the build failed."""
    image: str = ""
    """Name of the image that was deployed; empty for source."""
    credentials: str = ""
    """Name of the workspace's secret with credentials for the image's registry; none if empty."""
    digest: str | None = None
    """What the image's name stood for when it was built: calls run this and nothing else."""


class Function(Struct, frozen=True):
    """A function as stored."""

    id: FunctionId
    workspace: WorkspaceName
    name: str
    """Unique among the workspace's functions that are not deleted."""
    language: Language
    created_at: Instant
    updated_at: Instant
    title: str = ""
    """A name for people, which need not be unique."""
    description: str = ""
    tags: tuple[str, ...] = ()
    limits: Limits = Limits()
    live_version: int | None = None
    """What new calls use; None until a build succeeded."""
    last_version: int = 0
    paused: bool = False
    deleted_at: Instant | None = None

    @property
    def group(self) -> GroupName:
        """The group that its calls are filed under."""
        return group_of(self.id, self.name)


def group_of(function_id: FunctionId, name: str) -> GroupName:
    """The group of a function's calls: readable, and its own even if the name is used again."""
    return GroupName(f"{GROUP_PREFIX}{name}.{function_id}")


class CallRequest(Struct, frozen=True, omit_defaults=True):
    """What a handler is asked."""

    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values in order; ``content-type`` is one of them, or absent."""
    query: str = ""
    """The query string as it was sent, without the question mark."""
    method: str = "POST"
    host: str = ""


class CallResult(Struct, frozen=True):
    """What a handler answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    """None while it is in a file: see :attr:`size_bytes`."""
    size_bytes: int
    """Length of the body."""
