"""The function ports: what is deployed, what calls answered, and who builds it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry
from taskyard.core.access.work_identity import SERVER, Identity, Sandbox
from taskyard.core.functions.functions import (
    BuildState,
    CallResult,
    Function,
    FunctionId,
    Language,
    Limits,
    Version,
)
from taskyard.core.ids import AttemptId, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.ports.runtime import Assignment


class FunctionChange(Struct, frozen=True):
    """What to change of a function; None leaves a member as it is."""

    name: str | None = None
    title: str | None = None
    description: str | None = None
    tags: tuple[str, ...] | None = None
    limits: Limits | None = None
    language: Language | None = None
    live_version: int | None = None
    paused: bool | None = None


class FoundFunction(Struct, frozen=True):
    """A function that is not deleted, and which of its versions are container images."""

    function: Function
    images: frozenset[int]


class FunctionStore(Protocol):
    """Functions and their versions. Raises as the store ports do; someone else's is unknown."""

    async def create(self, function: Function) -> Function:
        """Store a new function. Raises ``Conflict`` if its name or its id is taken."""
        ...

    async def function(self, workspace: WorkspaceName, key: str) -> Function:
        """By name or id, deleted ones by id only. Raises ``NotFound``."""
        ...

    async def look_up(
        self, keys: Sequence[tuple[WorkspaceName, str]]
    ) -> list[FoundFunction | None]:
        """Those with these names or ids, in the same order; None for what is not there."""
        ...

    async def functions(
        self,
        workspace: WorkspaceName,
        *,
        after: str | None,
        limit: int,
        tag: str | None = None,
        deleted: bool = False,
        newest_first: bool = False,
    ) -> list[Function]:
        """In order of id, which is that of creation to the second, behind ``after``."""
        ...

    async def everything(self) -> list[Function]:
        """All functions of all workspaces that are not deleted."""
        ...

    async def change(
        self,
        workspace: WorkspaceName,
        function_id: FunctionId,
        change: FunctionChange,
        now: Instant,
        audit: AuditEntry | None = None,
    ) -> Function:
        """Raises ``NotFound``, also for deleted ones, ``Conflict`` if the new name is taken."""
        ...

    async def set_deleted(
        self,
        workspace: WorkspaceName,
        function_id: FunctionId,
        deleted: bool,
        now: Instant,
        audit: AuditEntry | None = None,
    ) -> Function:
        """Delete or restore; restoring one that is not deleted changes nothing.

        Raises ``NotFound``, also for deleting again, ``Conflict`` if the name is taken meanwhile.
        """
        ...

    async def add_version(self, version: Version, audit: AuditEntry | None = None) -> Version:
        """Store a version under the next number (its own is ignored).

        Raises ``NotFound``, also for deleted functions.
        """
        ...

    async def version(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> Version:
        """Raises ``NotFound``."""
        ...

    async def versions(
        self, workspace: WorkspaceName, function_id: FunctionId, before: int | None, limit: int
    ) -> list[Version]:
        """Newest first, below number ``before``. Raises ``NotFound``."""
        ...

    async def unbuilt(self) -> list[tuple[WorkspaceName, Version]]:
        """Versions of all workspaces whose build did not end, oldest first."""
        ...

    async def image_versions(self) -> frozenset[tuple[FunctionId, int]]:
        """All versions that are images, by function and number; deleted functions' as well."""
        ...

    async def bundles(self) -> frozenset[str]:
        """Names of the bundles that any version is made of; deleted functions' as well."""
        ...

    async def claim_build(
        self, function_id: FunctionId, number: int, builder: str, now: Instant, until: Instant
    ) -> bool:
        """Have one builder alone build a version, or go on with it, until then.

        False if another one has it and its time is not over, or if its build has ended.
        """
        ...

    async def set_build(
        self,
        function_id: FunctionId,
        number: int,
        state: BuildState,
        now: Instant,
        *,
        log: str | None = None,
        message: str | None = None,
        digest: str | None = None,
        goes_live: bool = False,
    ) -> None:
        """A build's next state; one that ``goes_live`` becomes what new calls use, unless a newer
        version is live already.

        A log or digest of None leaves what is there; a message is that of this state alone. Nothing
        changes if there is no such version.
        """
        ...

    async def build_log(
        self, workspace: WorkspaceName, function_id: FunctionId, number: int
    ) -> str | None:
        """The log of the last build that ended; None before. Raises ``NotFound``."""
        ...

    async def in_use(self, function: Function) -> set[int]:
        """Versions that calls which have not ended are bound to."""
        ...

    async def result(
        self, workspace: WorkspaceName, task_id: TaskId
    ) -> tuple[AttemptId, CallResult] | None:
        """What the last attempt of a task answered; None if it did not, whatever an earlier one
        did. Raises ``NotFound``.
        """
        ...

    async def blob(self, function_id: FunctionId) -> bytes | None:
        """What a function keeps from call to call; None if it keeps nothing."""
        ...


class BundleStore(Protocol):
    """The bundles of source, named by their content. Raises ``StorageFull``, ``Unavailable``."""

    async def put(self, content: bytes) -> str:
        """Keep it; answers with the SHA-256 in hex once it is durable.

        What is there already counts as put now; what is there and damaged is put again.
        """
        ...

    async def get(self, bundle: str) -> bytes:
        """Raises ``NotFound``, ``StoreDamaged`` if it is not what was put there."""
        ...

    async def keep_only(self, bundles: frozenset[str]) -> None:
        """Remove all others that were put more than a day ago."""
        ...


class VersionSource(Protocol):
    """Versions as a worker gets to know them that has no store: by the calls that it holds.

    Raises ``Unavailable``, and ``NotAllowed`` for a call that it does not hold any more.
    """

    async def version(self, call: Assignment, number: int) -> Version:
        """That of the function that is called. Raises ``NotFound``."""
        ...

    async def bundle(self, call: Assignment, version: Version) -> bytes:
        """Its source. Raises ``NotFound``, ``StoreDamaged`` if it is not what was deployed."""
        ...


class ResultFiles(Protocol):
    """Answers too large for the store."""

    async def write(self, attempt_id: AttemptId, body: bytes) -> None:
        """Returns once it is durable, in place of what was there.

        Raises ``OSError``, ``StorageFull``, ``Unavailable``.
        """
        ...

    async def read(self, attempt_id: AttemptId) -> bytes:
        """Raises ``NotFound``."""
        ...


class BuildFailed(Exception):
    """The source cannot be made into something that runs; the message says why."""


class Builder(Protocol):
    """Makes what runs out of a bundle, on this machine."""

    async def open(self) -> None:
        """Call once, before the first build: ends whatever an earlier process left building."""
        ...

    async def build(
        self,
        version: Version,
        bundle: bytes,
        say: Callable[[str], None],
        identity: Identity = SERVER,
        sandbox: Sandbox | None = None,
    ) -> None:
        """Unpack, install dependencies, check. ``say`` takes lines of the log.

        Code of others runs as ``identity``, and what is built can be read by that user; as this
        process's own, it runs in ``sandbox`` if there is one. Replaces
        what an earlier build of the version left. Raises ``BuildFailed``.
        """
        ...

    async def is_built(self, version: Version) -> bool:
        """Whether what runs is there, and on disk as it was built."""
        ...

    async def built_here(self) -> dict[FunctionId, list[int]]:
        """Versions of which there is something on this machine, by their functions."""
        ...

    async def retire(self, function_id: FunctionId, numbers: Sequence[int]) -> None:
        """Remove what was built for these versions."""
        ...


class ImageBuilder(Protocol):
    """Gets the images of versions that are images, for this machine."""

    async def build(
        self, version: Version, credentials: str | None, say: Callable[[str], None]
    ) -> str:
        """Pull; the digest that the image's name stands for. ``say`` takes lines of the log.

        ``credentials`` are what a secret says of the image's registry. Raises ``BuildFailed``, also
        if the version has a digest already and the name stands for another image by now.
        """
        ...

    async def is_built(self, version: Version) -> bool:
        """Whether it is known what to run."""
        ...
