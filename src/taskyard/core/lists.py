"""Numbered lists: a view of one group in which tasks count 1, 2, 3 … until they are taken off.

A list shows less than the engine knows: what was withdrawn before it ran, or flushed afterwards, is
gone from the list alone.
"""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.states import TERMINAL, TaskState
from taskyard.core.tasks import Command, Container, TaskSpec


class ListKey(NamedTuple):
    """A list: the group whose tasks it numbers."""

    workspace: WorkspaceName
    group: GroupName


class ListStatus(StrEnum):
    """Where a listed task is; it only ever moves down this list."""

    QUEUED = "queued"
    RUNNING = "running"
    """It left the queue; until it ends, whatever becomes of its attempts."""
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        """Whether it is over."""
        return self in {ListStatus.COMPLETED, ListStatus.FAILED}


class ListEntry(Struct):
    """One task of a list. Its owner moves the status; everything else stays."""

    number: int
    """Counts 1, 2, 3 … in the order of acceptance; never used again."""
    seq: int
    task_id: TaskId
    name: str
    size: str
    status: ListStatus = ListStatus.QUEUED


def numbered(spec: TaskSpec, variable: str | None, number: int) -> TaskSpec:
    """The specification with its number in the variable; unchanged if there is no such variable.

    Args:
        spec: of a task that gets a number.
        variable: of the environment of a command or a container; None tells nobody.
        number: what the variable is set to.
    """
    work = spec.work
    if variable is None or not isinstance(work, Command | Container):
        return spec
    return replace(spec, work=replace(work, env={**work.env, variable: str(number)}))


def status_of(state: TaskState, *, was_dispatched: bool) -> ListStatus | None:
    """How a list shows a task in this state; None if it does not show it any more."""
    if state is TaskState.SUCCEEDED:
        return ListStatus.COMPLETED
    if state in TERMINAL:
        # What ended without ever running was taken back: nobody lists it.
        return ListStatus.FAILED if was_dispatched or state not in _TAKEN_BACK else None
    if was_dispatched or state is TaskState.RUNNING:
        return ListStatus.RUNNING
    return ListStatus.QUEUED


_TAKEN_BACK = frozenset({TaskState.CANCELLED, TaskState.EXPIRED})
