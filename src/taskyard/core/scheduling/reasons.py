"""Why a task is where it is: reasons for waiting, as data and as a sentence."""

from typing import Any

from msgspec import Struct

from taskyard.core.ids import TaskId
from taskyard.core.states import TaskState


class Wait(Struct, frozen=True):
    """Why a task that is ready does not run yet; made by the very function that decides."""

    code: str
    """``group_paused``, ``group_limit``, ``workspace_limit``, ``no_worker``, ``draining``,
    ``no_runtime``, ``no_pool``, ``no_host``, ``pool_limit``, ``placement`` (its policy refuses
    all workers), ``evaluating`` (it takes more than its workspace's share), ``leaving`` (no
    worker stays as long as it may run), ``no_room``, ``reserved_for_other``, ``behind`` (others go
    first), ``starting`` or ``no_leader`` (of several control planes none leads)."""
    summary: str
    """One line for people."""
    detail: dict[str, Any] = {}
    """The numbers in the summary."""


class Explanation(Struct, frozen=True):
    """The answer to "why?" for one task."""

    task_id: TaskId
    state: TaskState
    code: str
    """A code of :class:`Wait`, or ``scheduled``, ``retrying``, ``running``, ``killing`` or
    ``ended``."""
    summary: str
    detail: dict[str, Any] = {}
    ahead: int | None = None
    """Queued tasks of its group that go first; counted up to 1000."""
    story: tuple[str, ...] = ()
    """What became of each attempt, one line each."""
