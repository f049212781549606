"""One try at a task: its record, and what its worker reports about it."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from taskyard.core.functions.functions import CallResult
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import Instant, seconds_between
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


class Confinement(Struct, frozen=True, omit_defaults=True):
    """User, isolation and limits that the runtime applied to an attempt."""

    user: str = ""
    """User id on the worker's machine; in a container, the user it asked for. Empty if
    nobody knows."""
    isolation: Literal["none", "user", "sandbox", "container"] = "none"
    """``none``: as the worker itself; ``user``: as another user; ``sandbox``: in name spaces of its
    own, without capabilities, as whichever user; ``container``: as its engine sees to."""
    enforced: tuple[str, ...] = ()
    """Limits it asked for that are enforced: of ``cpu``, ``cpuset``, ``memory`` and ``pids``."""
    unenforced: tuple[str, ...] = ()
    """Limits it asked for that nothing enforces on this machine."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should know."""
        return tuple(
            f"the {name} limit is not enforced: its worker may not use cgroups for it;"
            " with strict, the task would have been refused"
            for name in self.unenforced
        )


def confinement_in(handle: dict[str, Any]) -> Confinement | None:
    """What a runtime said about it in the handle of a running attempt; None if it did not."""
    told = handle.get("confinement")
    return None if told is None else msgspec.convert(told, Confinement)


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
    confinement: Confinement | None = None
    """As whom and how limited it runs; None before it started, or if its runtime does not say."""
    progress: float | None = None
    """How far it says it is, from 0 to 1; None if it never said."""
    progress_text: str | None = None


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
    inline_output: dict[str, bytes] = {}
    """Small finished output, ``stdout`` and ``stderr``, to be kept in the store itself; with it, as
    ``order``, the index of the order in which it came."""
    order_bytes: int = 0
    """Length of that index, wherever it is kept."""
    output_complete: bool = False
    """Whether ``inline_output`` is all the output: then no directory needs to be read."""
    is_silent: bool = False
    """Whether the runtime knows that there was no output: then none is looked for."""
    result: CallResult | None = None
    """What a function answered; stored in the same transaction as the end."""
    confinement: Confinement | None = None
    """User, isolation and limits it ran with, in case the start was never reported."""
    blob: bytes | None = None
    """What the function keeps from now on, nothing when empty; None leaves what it has."""

    @classmethod
    def never_ran(
        cls,
        attempt_id: AttemptId,
        lease_token: LeaseToken,
        at: Instant,
        reason: Reason,
        message: str,
    ) -> "Ended":
        """An attempt that failed before its runtime had it."""
        return cls(attempt_id, lease_token, at, AttemptState.FAILED, reason=reason, message=message)

    @classmethod
    def lost(
        cls, attempt_id: AttemptId, lease_token: LeaseToken, at: Instant, worker_id: str
    ) -> "Ended":
        """An attempt whose worker is gone."""
        return cls(
            attempt_id,
            lease_token,
            at,
            AttemptState.LOST,
            reason=Reason.WORKER_LOST,
            message=f"worker {worker_id} was lost",
        )


class Progress(Struct, frozen=True, tag="progress"):
    """The work says how far it is. Reports may be left out; the last one counts."""

    attempt_id: AttemptId
    lease_token: LeaseToken
    at: Instant
    fraction: float
    """0 to 1."""
    text: str | None = None


Report = Started | Progress | Ended
"""What a worker tells the engine about an attempt."""


def ran_s(attempts: Iterable[Attempt]) -> float | None:
    """Seconds for which those that have ended ran, added up; None if there is none."""
    times = [
        max(0.0, seconds_between(attempt.started_at, attempt.finished_at))
        for attempt in attempts
        if attempt.started_at is not None and attempt.finished_at is not None
    ]
    return sum(times) if times else None
