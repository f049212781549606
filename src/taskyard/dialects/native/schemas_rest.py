"""Wire form of groups, workers, webhooks, access and the rest."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from taskyard.dialects.native.queries import WorkspaceChoice
from taskyard.dialects.native.schemas_shared import TEXT
from taskyard.dialects.native.schemas_tasks import Uuid, When
from taskyard.ports.dispatching import ParkedKind

RoleWord = Literal["read", "write", "operate", "admin"]
Limit = Annotated[int, Meta(ge=1, le=1_000_000)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["ci"])]


class GroupAnswer(Struct):
    """A group: its settings and its tasks by state."""

    name: str
    paused: bool
    concurrency_limit: int | None
    counts: dict[str, int]


class GroupPageAnswer(Struct):
    """A page of groups, by name."""

    items: list[GroupAnswer]
    next_cursor: str | None


class GroupPatch(Struct, forbid_unknown_fields=True):
    """Changes to a group."""

    paused: bool | UnsetType = UNSET
    concurrency_limit: Limit | UnsetType | None = UNSET


class WorkspaceAnswer(Struct):
    """The caller's workspace."""

    name: str
    concurrency_limit: int | None
    counts: dict[str, int]


class WorkspacePatch(Struct, forbid_unknown_fields=True):
    """Changes to the workspace."""

    concurrency_limit: Limit | None


class CapacityAnswer(Struct):
    """Capacity of a worker, or how much of it is in use."""

    slots: int
    cpu: float
    """Cores."""
    memory_bytes: int


class UnavailableRuntimeAnswer(Struct):
    """A runtime of a worker that is unavailable now."""

    reason: str
    circuit: str
    """Circuit breaker of its engine: ``closed``, ``open`` or ``half-open``."""
    retry_at: When | None
    """When it is checked again."""


class WorkerAnswer(Struct):
    """A worker, with capacity and usage."""

    id: str
    hostname: str
    state: str
    version: str
    capacity: CapacityAnswer
    used: CapacityAnswer
    runtimes: tuple[str, ...]
    """Runtimes that are available now."""
    unavailable: dict[str, UnavailableRuntimeAnswer]
    joined_at: When
    beat_at: When


class WorkersAnswer(Struct):
    """All workers."""

    items: list[WorkerAnswer]


class TagScalingAnswer(Struct):
    """Tasks that ask for one tag, and the workers with it that they want."""

    tag: str | None
    """None for tasks that ask for none."""
    waiting: int
    running: int
    wanted: int


class ScalingAnswer(Struct):
    """What an autoscaler asks for."""

    group: str
    waiting: int
    """Ready tasks; those that wait for their time are not."""
    running: int
    wanted: int
    """Workers, those included that are here; 0 if nothing waits or runs."""
    tags: list[TagScalingAnswer]


class PlaneAnswer(Struct):
    """A control plane of the installation."""

    id: str
    name: str
    """Of its machine."""
    address: str
    version: str
    state: Literal["leading", "following", "silent"]
    """``silent``: not heard for as long as a leader would be replaced."""
    joined_at: When
    beat_at: When
    silent_s: float


class ClusterAnswer(Struct):
    """The control planes, as the one that answers sees them."""

    plane: str | None
    """The one that answers; null if it is the only one, on SQLite."""
    leader: str | None
    """The one that places tasks; null while none does, and for the only one."""
    term: int | None
    """Grows whenever another one begins to lead."""
    hears_messages: bool
    """Whether it is connected to NATS; true where there is none."""
    hears_changes: bool
    """Whether it reads what the others commit; false while the database is away."""
    planes: list[PlaneAnswer]


class ParkedAnswer(Struct):
    """An entry that background work failed on and set aside."""

    kind: ParkedKind
    id: str
    reason: str
    since: When
    retry_at: When


class ParkedListAnswer(Struct):
    """Parked entries, oldest first."""

    items: list[ParkedAnswer]


class TryAnswer(Struct):
    """One request of a delivery."""

    at: When
    status: int | None
    error: str | None
    duration_ms: int


class DeliveryAnswer(Struct):
    """The delivery of one event to one webhook."""

    id: str
    task_id: Uuid
    event: str
    url: str
    state: str
    attempt_count: int
    next_at: When | None
    created_at: When
    delivered_at: When | None
    last_status: int | None
    last_error: str | None
    tries: list[TryAnswer]
    """Empty in pages."""


class DeliveriesAnswer(Struct):
    """All deliveries of a task."""

    items: list[DeliveryAnswer]


class DeliveryPageAnswer(Struct):
    """A page of deliveries."""

    items: list[DeliveryAnswer]
    next_cursor: str | None


class SigningKeyAnswer(Struct):
    """The key that signs webhook requests of this workspace."""

    key: str


class TokenAnswer(Struct):
    """A token, without its secret."""

    id: str
    name: str
    workspace: str
    role: RoleWord
    created_at: When
    expires_at: When | None
    revoked_at: When | None
    last_used_at: When | None


class NewTokenAnswer(TokenAnswer):
    """A new token; ``token`` is its secret, shown only once."""

    token: str


class TokenPageAnswer(Struct):
    """A page of tokens."""

    items: list[TokenAnswer]
    next_cursor: str | None


class NewToken(Struct, forbid_unknown_fields=True):
    """A token to create."""

    name: Name
    role: RoleWord
    workspace: WorkspaceChoice | None = None
    expires_in_s: Annotated[float, Meta(ge=1, le=315_360_000)] | None = None


class UserAnswer(Struct):
    """A user who signs in with name and password."""

    name: str
    workspace: str
    role: RoleWord
    created_at: When


class UserPageAnswer(Struct):
    """A page of users."""

    items: list[UserAnswer]
    next_cursor: str | None


class NewUser(Struct, forbid_unknown_fields=True):
    """A user to add."""

    name: Name
    password: Annotated[str, Meta(min_length=8, max_length=256)]
    role: RoleWord
    workspace: WorkspaceChoice | None = None


class SecretAnswer(Struct):
    """A stored secret; its value is never shown."""

    name: str
    created_at: When
    updated_at: When


class SecretPageAnswer(Struct):
    """A page of secrets."""

    items: list[SecretAnswer]
    next_cursor: str | None


class NewSecret(Struct, forbid_unknown_fields=True):
    """A secret's value."""

    value: Annotated[str, Meta(max_length=65_536, pattern=TEXT)]


class AuditEntryAnswer(Struct):
    """One successful write or one refused attempt at it."""

    number: int
    at: When
    actor: str
    action: str
    target: str | None
    outcome: str
    address: str | None
    detail: str | None
    count: int
    """Number of occurrences; refused attempts of one kind are counted for a minute."""


class AuditPageAnswer(Struct):
    """A page of the audit trail, newest first."""

    items: list[AuditEntryAnswer]
    next_cursor: str | None


class MeAnswer(Struct, omit_defaults=True):
    """The caller."""

    actor: str
    workspace: str
    """`*` for a credential of the installation, which belongs to no workspace."""
    role: RoleWord
    installation: RoleWord | UnsetType = UNSET
    """Installation role of a credential of the installation."""
    output_bytes: int | UnsetType = UNSET
    """Stored output of ended attempts, for a credential of a workspace."""
    output_quota_bytes: int | UnsetType = UNSET
    """Limit of the stored output; left out if there is none."""


class ServerVersionAnswer(Struct, omit_defaults=True):
    """Version of the server."""

    version: str
    api: str
    dev: bool = False
    """True when the server runs with well-known credentials."""
