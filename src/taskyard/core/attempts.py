"""One try at a task: its record, and what its worker reports about it."""

from typing import Any

from msgspec import Struct

from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.states import AttemptState, Reason


class Survivor(Struct, frozen=True):
    """A process that was still alive when the kill was over. There should never be one."""

    pid: int
    command: str


class KillReport(Struct, frozen=True):
    """Proof of a kill: what was done, and who outlived it."""

    requested_at: Instant
    done_at: Instant
    signal: str | None = None
    """The polite signal that was sent first; None when there was no grace."""
    forced: bool = False
    """Whether anything had to be killed outright after the grace."""
    method: str = "cgroup"
    """``cgroup`` (the whole tree at once), ``session`` (session and descendants), ``container``."""
    killed_count: int = 0
    """Processes that were alive when the outright kill began."""
    survivors: tuple[Survivor, ...] = ()


class Usage(Struct, frozen=True):
    """What the attempt consumed, as far as the machine accounts for it."""

    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    memory_peak_bytes: int | None = None


class StreamSize(Struct, frozen=True):
    """Length of one output stream of an ended attempt."""

    stored_bytes: int = 0
    """Bytes that can be read back."""
    dropped_bytes: int = 0
    """Bytes beyond the limit that were not kept."""


class Attempt(Struct, frozen=True):
    """An attempt as stored."""

    id: AttemptId
    task_id: TaskId
    workspace: WorkspaceName
    number: int
    """1 for the first attempt at its task."""
    worker_id: WorkerId
    incarnation: IncarnationId
    lease_token: LeaseToken
    lease_expires_at: Instant
    resources: Resources
    """What it holds on its worker until it has ended."""
    state: AttemptState
    assigned_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    exit_code: int | None = None
    """Code the work exited with; None when it died of a signal or never ran."""
    signal: str | None = None
    """Name of the signal it died of, such as ``SIGKILL``."""
    reason: Reason | None = None
    message: str | None = None
    kill_report: KillReport | None = None
    usage: Usage | None = None
    stdout: StreamSize = StreamSize()
    stderr: StreamSize = StreamSize()
    handle: dict[str, Any] = {}
    """What the runtime needs to find the work again, such as its pid and cgroup."""


class Started(Struct, frozen=True, tag="started"):
    """The worker saw the work running."""

    attempt_id: AttemptId
    lease_token: LeaseToken
    at: Instant
    handle: dict[str, Any] = {}


class Ended(Struct, frozen=True, tag="ended"):
    """The work is over, and nothing of it is left running."""

    attempt_id: AttemptId
    lease_token: LeaseToken
    at: Instant
    state: AttemptState
    """One of the ended states."""
    started_at: Instant | None = None
    """When it began, in case the start was never reported."""
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    kill_report: KillReport | None = None
    usage: Usage | None = None
    stdout: StreamSize = StreamSize()
    stderr: StreamSize = StreamSize()
    folded: dict[str, bytes] = {}
    """Small finished output, ``stdout`` and ``stderr``, to be kept in the store itself."""


Report = Started | Ended
"""What a worker tells the engine about an attempt."""
