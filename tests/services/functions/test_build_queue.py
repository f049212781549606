"""The order of builds: fair between workspaces, one after another within a function."""

from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.functions.functions import FunctionId
from taskyard.core.ids import WorkspaceName
from taskyard.services.functions.build_queue import BuildQueue

A, B, C = (WorkspaceName(name) for name in "abc")


def function(workspace: WorkspaceName, number: int) -> FunctionId:
    """A function of a workspace."""
    return FunctionId(f"{workspace}{number}")


def filled(queue: BuildQueue, workspace: WorkspaceName, count: int) -> None:
    """Let so many functions of a workspace wait."""
    for number in range(count):
        queue.add(workspace, function(workspace, number), 1)


def test_workspaces_take_turns() -> None:
    """However many builds one of them has waiting."""
    queue = BuildQueue(1)
    filled(queue, A, 6)
    filled(queue, B, 2)
    filled(queue, C, 1)
    order = []
    while (taken := queue.take()) is not None:
        order.append(taken[0])
        assert queue.take() is None
        queue.ended(taken[1])
    assert order == [A, B, C, A, B, A, A, A, A]


def test_who_comes_to_a_full_house_need_not_wait() -> None:
    """While all places are one workspace's; one more each, and no more than that."""
    queue = BuildQueue(2)
    filled(queue, A, 9)
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert queue.take() is None
    filled(queue, B, 2)
    filled(queue, C, 1)
    assert queue.take() == (B, function(B, 0), 1)
    assert queue.take() is None
    queue.ended(first[1])
    assert queue.take() is None
    queue.ended(second[1])
    assert queue.take() == (A, function(A, 2), 1)
    queue.ended(function(B, 0))
    assert queue.take() == (C, function(C, 0), 1)


def test_versions_of_a_function_follow_each_other() -> None:
    """And other functions of the workspace come in between."""
    queue = BuildQueue(3)
    for number in (1, 2, 3):
        queue.add(A, function(A, 0), number)
    queue.add(A, function(A, 1), 1)
    assert queue.waiting(A) == 4
    assert queue.take() == (A, function(A, 0), 1)
    assert queue.take() == (A, function(A, 1), 1)
    assert queue.take() is None
    assert queue.reason(function(A, 0), 1) is None
    reason = queue.reason(function(A, 0), 3)
    assert reason == "waiting for the build of version 1 of this function"
    assert not queue.ended(function(A, 0))
    assert queue.ended(function(A, 1))
    assert queue.waiting(A) == 2


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["add", "end"]), st.integers(0, 2), st.integers(0, 3))),
)
def test_no_workspace_waits_while_another_one_has_all_places(
    places: int, events: list[tuple[str, int, int]]
) -> None:
    """In whatever order builds come and end; all are built, none twice at once."""
    queue = BuildQueue(places)
    under_way: list[tuple[WorkspaceName, FunctionId, int]] = []
    waiting: dict[WorkspaceName, int] = dict.fromkeys((A, B, C), 0)
    versions: dict[FunctionId, int] = {}
    built: dict[FunctionId, int] = {}

    def look() -> None:
        while (taken := queue.take()) is not None:
            under_way.append(taken)
            waiting[taken[0]] -= 1
        owners = [one[0] for one in under_way]
        assert len({one[1] for one in under_way}) == len(under_way)
        assert len(owners) <= (places + 1 if places > 1 else 1)
        for one in (A, B, C):
            assert queue.waiting(one) == waiting[one]
            if places > 1 and waiting[one] and one not in owners:
                assert len(set(owners)) > 1

    for what, owner, number in events:
        workspace = (A, B, C)[owner]
        if what == "add":
            key = function(workspace, number)
            versions[key] = versions.get(key, 0) + 1
            queue.add(workspace, key, versions[key])
            waiting[workspace] += 1
        elif under_way:
            _, ended, version = under_way.pop(number % len(under_way))
            assert version == built.get(ended, 0) + 1
            built[ended] = version
            queue.ended(ended)
        look()
    while under_way:
        _, ended, version = under_way.pop(0)
        built[ended] = version
        queue.ended(ended)
        look()
    assert built == versions
