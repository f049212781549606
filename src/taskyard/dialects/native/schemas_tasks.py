"""Wire form of tasks, attempts, events and explanations as they are answered."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from taskyard.core.cron import CatchUp
from taskyard.core.scheduling.policies import Policy
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import SecretRef
from taskyard.dialects.native.schemas_shared import Container, Kill, Retry, Webhook

When = Annotated[
    str,
    Meta(
        examples=["2026-11-22T03:04:05.000006Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
"""An instant in RFC 3339, UTC, with microseconds."""
Uuid = Annotated[
    str,
    Meta(
        examples=["0199f3a2-7c1e-7d3a-9b8e-3f2d1c0b4a59"],
        extra_json_schema={"format": "uuid"},
    ),
]


class ResourcesAnswer(Struct):
    """Resources an attempt reserves and may not exceed."""

    cpu: float | None
    """Cores."""
    memory: int | None
    """Bytes."""
    pids: int | None
    cores: int | None
    """Number of exclusive cores."""


class TaskAnswer(Struct):
    """A task: its specification and state."""

    id: Uuid
    workspace: str
    state: TaskState
    created_at: When
    start_at: When | None
    finished_at: When | None
    attempt_count: int
    current_attempt: Uuid | None
    kill_requested_at: When | None
    reason: Reason | None
    message: str | None
    exit_code: int | None
    """Exit code of the last attempt; set where a single task is requested."""
    ran_s: float | None
    """Total running time of its ended attempts in seconds; set where tasks are read."""
    schedule_id: Uuid | None
    due_at: When | None
    retry_of: Uuid | None
    runtime: str
    """``command``, ``container``, ``function``, or ``simulation``, which idles for
    ``duration_s``."""
    command: tuple[str, ...] | str
    """With an image, the arguments of its entry point."""
    image: str | None
    container: Container | None
    env: dict[str, str | SecretRef]
    cwd: str | None
    stdin: str | None
    user: str | None
    isolate: bool
    network: bool
    """Whether a command may use its worker's network."""
    duration_s: float | None
    function: str | None
    """Name of the function that is called."""
    function_version: int | None
    size: str | None
    """Name of the size that ``resources`` come from."""
    group: str
    name: str | None
    priority: int
    resources: ResourcesAnswer
    placement: Policy | None
    timeout_s: float | None
    kill: Kill
    retry: Retry
    cron: str | None
    timezone: str
    catch_up: CatchUp
    expires_at: When | None
    idempotency_key: str | None
    rerun_if_lost: bool
    strict: bool
    log_limit: int | None
    labels: dict[str, str]
    metadata: dict[str, Any]
    webhooks: list[Webhook]


class TaskPageAnswer(Struct):
    """A page of tasks."""

    items: list[TaskAnswer]
    next_cursor: str | None


class SubmittedAnswer(Struct):
    """Outcome of one task of a batch."""

    id: Uuid
    state: TaskState
    created: bool
    """False: the idempotency key was known, and this is the task it stands for."""


class SubmittedBatchAnswer(Struct):
    """Outcomes of a batch, in order."""

    items: list[SubmittedAnswer]


class CountsAnswer(Struct):
    """Tasks by state; states without tasks are left out."""

    counts: dict[str, int]


class OutcomeAnswer(Struct):
    """Outcome of a request to cancel a task."""

    task_id: str
    outcome: Literal["cancelled", "killing", "ended", "unknown"]


class OutcomesAnswer(Struct):
    """One outcome for each task."""

    items: list[OutcomeAnswer]


class SurvivorAnswer(Struct):
    """A process that outlived a kill."""

    pid: int
    command: str


class KillReportAnswer(Struct):
    """Proof of a kill."""

    requested_at: When
    done_at: When
    signal: str | None
    forced: bool
    method: str
    killed_count: int
    survivors: list[SurvivorAnswer]


class UsageAnswer(Struct):
    """What an attempt consumed."""

    cpu_user_s: float | None
    cpu_system_s: float | None
    memory_peak_bytes: int | None


class StreamSizeAnswer(Struct):
    """Length of one output stream."""

    stored_bytes: int
    dropped_bytes: int


class ConfinementAnswer(Struct):
    """User, isolation and limits of an attempt."""

    user: str
    """User id on the worker's machine; in a container, the user it asked for."""
    isolation: Literal["none", "user", "sandbox", "container"]
    """``none``: as the worker itself; ``user``: as another user; ``sandbox``: in namespaces of its
    own; ``container``: isolated by its engine."""
    enforced: tuple[str, ...]
    """Requested limits that are enforced; for commands only."""
    unenforced: tuple[str, ...]
    """Requested limits that cannot be enforced on its machine."""


class AttemptAnswer(Struct):
    """One try at a task."""

    id: Uuid
    task_id: Uuid
    number: int
    worker_id: str
    cores: tuple[int, ...]
    """Its exclusive processors; empty if it did not ask for whole cores."""
    state: AttemptState
    assigned_at: When
    started_at: When | None
    finished_at: When | None
    exit_code: int | None
    signal: str | None
    reason: Reason | None
    message: str | None
    kill_report: KillReportAnswer | None
    usage: UsageAnswer | None
    stdout: StreamSizeAnswer
    stderr: StreamSizeAnswer
    progress: float | None
    """Progress it reported, from 0 to 1."""
    progress_text: str | None
    confinement: ConfinementAnswer | None
    """None before it has started, and if its runtime does not report it."""
    warnings: tuple[str, ...]
    """Warnings for the submitter."""


class AttemptsAnswer(Struct):
    """All attempts, first to last."""

    items: list[AttemptAnswer]


class EventAnswer(Struct):
    """One line of a task's history."""

    number: int
    kind: str
    at: When
    attempt_id: Uuid | None
    actor: str | None
    detail: str | None


class EventPageAnswer(Struct):
    """A page of history, oldest first."""

    items: list[EventAnswer]
    next_cursor: str | None


class WhyAnswer(Struct):
    """Why a task is waiting, or how it ended."""

    task_id: Uuid
    state: TaskState
    summary: str
    code: str
    detail: dict[str, Any]
    ahead: int | None
    story: tuple[str, ...]


class ChangeAnswer(Struct, tag="change", tag_field="type"):
    """One committed change of a task."""

    kind: str
    at: When
    task_id: Uuid
    group: str
    state: TaskState
    was: TaskState | None
    attempt_id: Uuid | None
    attempt_number: int | None
    reason: Reason | None


class GapAnswer(Struct, tag="gap", tag_field="type"):
    """Takes the place of changes that a slow reader missed."""

    missed: int
