"""One list in memory: what it shows of what it is told, in whatever order that comes."""

import pytest

from taskyard.core.changes import Change
from taskyard.core.errors import StorageFull, Unavailable
from taskyard.core.ids import GroupName, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.lists import ListEntry, ListKey, ListStatus
from taskyard.core.states import TaskState
from taskyard.services.task_list import FINISHED_KEPT, TaskList

KEY = ListKey(WorkspaceName("w"), GroupName("g"))
S = TaskState


def entry(number: int, status: ListStatus = ListStatus.QUEUED) -> ListEntry:
    """One whose task has ten times its number."""
    return ListEntry(number, number * 10, TaskId(f"t{number}"), f"n{number}", "small", status)


def change(number: int, state: TaskState, kind: str = "moved") -> Change:
    """A step of the task with this number."""
    return Change(kind, Instant(0), TaskId(f"t{number}"), number * 10, *KEY, state)


def filled(*entries: ListEntry) -> TaskList:
    """A list that was read."""
    shown = TaskList(KEY)
    shown.begin()
    shown.fill(entries)
    return shown


def statuses(shown: TaskList) -> dict[int, str]:
    """What it shows."""
    return {number: one.status.value for number, one in shown.entries.items()}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([S.RUNNING], "running"),
        ([S.RUNNING, S.SUCCEEDED], "completed"),
        ([S.RUNNING, S.FAILED], "failed"),
        ([S.RUNNING, S.CANCELLED], "failed"),
        ([S.RUNNING, S.DEAD], "failed"),
        ([S.RUNNING, S.QUEUED], "running"),
        ([S.RUNNING, S.QUEUED, S.CANCELLED], "failed"),
        ([S.RUNNING, S.SUCCEEDED, S.RUNNING], "completed"),
        ([S.RUNNING, S.FAILED, S.QUEUED, S.RUNNING, S.SUCCEEDED], "failed"),
        ([S.CANCELLED], None),
        ([S.EXPIRED], None),
        ([S.QUEUED], "queued"),
    ],
)
def test_status_only_moves_forward(states: list[TaskState], expected: str | None) -> None:
    """What waits is gone when it is taken back; what ended stays what it was."""
    shown = filled(entry(1))
    for state in states:
        shown.apply(change(1, state))
    assert statuses(shown) == ({} if expected is None else {1: expected})


def test_changes_during_the_read_come_after_it() -> None:
    """Whether or not the read saw them, the list ends the same, and shows the old one meanwhile."""
    for read in ([entry(1), entry(2, ListStatus.RUNNING), entry(3)], [entry(2), entry(3)]):
        shown = filled()
        shown.begin()
        shown.add(entry(4))
        shown.apply(change(2, S.RUNNING))
        shown.apply(change(4, S.RUNNING))
        shown.remove([1])
        assert statuses(shown) == {}
        shown.fill(read)
        assert statuses(shown) == {2: "running", 3: "queued", 4: "running"}


def test_the_unknown_changes_nothing() -> None:
    """No revision, no call of whoever watches."""
    shown = filled(entry(1))
    calls: list[int] = []
    shown.watchers.add(lambda: calls.append(shown.revision))
    before = shown.revision
    shown.apply(change(2, S.RUNNING))
    shown.apply(change(1, S.QUEUED))
    shown.add(entry(1))
    shown.remove([])
    assert (shown.revision, calls) == (before, [])
    shown.apply(change(1, S.RUNNING))
    shown.add(entry(2))
    shown.remove([1])
    assert calls == [before + 1, before + 2, before + 3]


def test_deleted_records_are_not_listed() -> None:
    """Whatever they had come to."""
    shown = filled(entry(1, ListStatus.COMPLETED), entry(2, ListStatus.FAILED))
    shown.apply(change(1, S.SUCCEEDED, "deleted"))
    assert statuses(shown) == {2: "failed"}


def test_only_so_many_finished_ones_are_kept() -> None:
    """The lowest numbers go, whichever ended last; others do not count."""
    finished = [entry(number, ListStatus.COMPLETED) for number in range(2, FINISHED_KEPT + 2)]
    shown = filled(entry(1, ListStatus.RUNNING), *finished, entry(5000))
    assert (len(shown.entries), shown.dropped) == (FINISHED_KEPT + 2, [])
    shown.apply(change(5000, S.RUNNING))
    shown.apply(change(5000, S.FAILED))
    assert shown.dropped == [2]
    shown.apply(change(1, S.SUCCEEDED))
    assert shown.dropped == [2, 1]
    assert list(shown.entries) == [*range(3, FINISHED_KEPT + 2), 5000]


def test_a_list_that_cannot_be_read_says_why() -> None:
    """Whoever waits is told, and it can be read again."""
    shown = TaskList(KEY)
    shown.fail(StorageFull())
    assert shown.ready.is_set()
    assert isinstance(shown.failure, Unavailable)
    shown.begin()
    shown.fill([entry(1)])
    again: object = shown.failure
    assert again is None
    assert statuses(shown) == {1: "queued"}


def test_what_is_told_late_comes_into_its_place() -> None:
    """Entries ascend whoever is faster; what was removed before it was added is never shown."""
    shown = filled(entry(1))
    shown.add(entry(4))
    shown.add(entry(2))
    shown.remove([3])
    shown.add(entry(3))
    assert statuses(shown) == {1: "queued", 2: "queued", 4: "queued"}
    assert list(shown.entries) == [1, 2, 4]
