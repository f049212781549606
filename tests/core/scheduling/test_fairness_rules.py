"""What the scheduler promises, one promise at a time."""

import itertools
import sys
from types import FrameType

import pytest
from msgspec.structs import replace
from naive_scheduler import GIB, START, ready, rooms_of

from taskyard.core.availability import RuntimeStatus
from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling import fairness, window
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.pools import Pool, Pools
from taskyard.core.scheduling.queues import QueueKey


def test_a_large_task_is_not_starved_by_small_ones() -> None:
    """After half a minute a worker is kept free for it, however many small ones come."""
    queues, rooms, now = ReadyQueues(), rooms_of((4, 4000, 4)), START
    key, big_key = (
        QueueKey(WorkspaceName("a"), GroupName("g")),
        QueueKey(WorkspaceName("a"), GroupName("big")),
    )
    count = itertools.count(2)
    running: list[tuple[int, Resources, QueueKey]] = []
    small = Resources(None, GIB)
    for _ in range(4):
        queues.add(ready(next(count), key, 0, small, now))
    queues.plan(Fleet.of(rooms), now, 4)
    running = [(7 + n, small, key) for n in range(4)]
    rooms = [replace_free(rooms[0], Capacity(0, 4000, 0))]
    big = ready(1, big_key, 0, Resources(None, 4 * GIB), now)
    queues.add(big)
    for second in range(1, 60):
        now = after(START, second)
        for entry in [entry for entry in running if entry[0] <= second]:
            running.remove(entry)
            rooms = [rooms[0].plus(entry[1])]
            queues.ended(entry[2])
        queues.add(ready(next(count), key, 0, small, now))
        for chosen in queues.plan(Fleet.of(rooms), now, 10):
            if chosen.task is big:
                assert 30 <= second <= 30 + 11
                return
            running.append((second + 10, small, key))
            rooms = [rooms[0].minus(small)]
        if second > 31:
            other = ready(next(count), key, 0, small, now)
            assert queues.explain(other, Fleet.of(rooms), now).code in {
                "reserved_for_other",
                "no_room",
            }
    pytest.fail("the large task never started")


def replace_free(room: Room, free: Capacity) -> Room:
    """The same worker with this left of it."""
    return Room(room.worker_id, room.incarnation, room.total, free)


def test_room_is_not_kept_free_for_what_may_not_go() -> None:
    """A pause, a limit, or another task of its group going first ends a reservation."""
    now, later = START, after(START, 40)
    key, other = (
        QueueKey(WorkspaceName("a"), GroupName("g")),
        QueueKey(WorkspaceName("a"), GroupName("h")),
    )
    queues, room = ReadyQueues(), rooms_of((4, 4000, 4))
    busy = [room[0].minus(Resources(None, GIB))]
    queues.add(ready(1, key, 0, Resources(None, 4 * GIB), now))
    assert queues.plan(Fleet.of(busy), later, 10) == []
    small = ready(2, other, 0, Resources(), later)
    queues.add(small)
    assert queues.explain(small, Fleet.of(busy), later).code == "reserved_for_other"
    queues.set_group(key, paused=True, limit=None)
    assert queues.explain(small, Fleet.of(busy), later).code == "starting"
    queues.set_group(key, paused=False, limit=None)
    assert queues.explain(small, Fleet.of(busy), later).code == "reserved_for_other"
    first = ready(3, key, 1, Resources(), later)
    queues.add(first)
    assert [chosen.task for chosen in queues.plan(Fleet.of(busy), later, 1)] == [first]


def test_a_workspace_is_looked_through_only_so_far() -> None:
    """Behind many heads without room even a small task waits, and is told so."""
    queues, rooms = ReadyQueues(), rooms_of((4, 4000, 4))
    workspace = WorkspaceName("a")
    for seq in range(fairness.LOOK_PAST + 1):
        key = QueueKey(workspace, GroupName(f"large-{seq}"))
        queues.add(ready(seq, key, 0, Resources(None, 9 * GIB), START))
    small = ready(1000, QueueKey(workspace, GroupName("small")), 0, Resources(), START)
    queues.add(small)
    assert queues.plan(Fleet.of(rooms), START, 10) == []
    wait = queues.explain(small, Fleet.of(rooms), START)
    assert wait.code == "behind"
    assert str(fairness.LOOK_PAST) in wait.summary
    queues.remove(workspace, GroupName("large-0"), 0)
    assert queues.explain(small, Fleet.of(rooms), START).code == "starting"
    assert [chosen.task for chosen in queues.plan(Fleet.of(rooms), START, 10)] == [small]


def test_what_runs_already_counts_against_limits() -> None:
    """Also when it is found after its queue was."""
    key = QueueKey(WorkspaceName("a"), GroupName("g"))
    queues = ReadyQueues()
    queues.set_group(key, paused=False, limit=1)
    queues.add(ready(1, key, 0, Resources(), START))
    queues.began(key)
    assert queues.plan(Fleet.of(rooms_of((4, 4000, 4))), START, 10) == []
    queues.ended(key)
    assert len(queues.plan(Fleet.of(rooms_of((4, 4000, 4))), START, 10)) == 1


def test_kept_room_is_used_by_whom_it_is_kept_for() -> None:
    """However many others, who may not have it, go before."""
    queues, rooms = ReadyQueues(), rooms_of((4, 4000, 4))
    workspace = WorkspaceName("a")
    large = ready(1, QueueKey(workspace, GroupName("large")), -1, Resources(None, 4 * GIB), START)
    queues.add(large)
    busy = [rooms[0].minus(Resources(None, GIB))]
    assert queues.plan(Fleet.of(busy), START, 10) == []
    later = after(START, 31)
    for seq in range(2, fairness.LOOK_PAST + 20):
        key = QueueKey(workspace, GroupName(f"small-{seq}"))
        queues.add(ready(seq, key, 0, Resources(), later))
    assert queues.plan(Fleet.of(busy), later, 10) == []
    assert queues.explain(large, Fleet.of(rooms), later).code == "starting"
    assert queues.plan(Fleet.of(rooms), later, 1)[0].task is large


def test_what_has_expired_is_not_started() -> None:
    """Nor does it stand in the way of what comes after it."""
    key = QueueKey(WorkspaceName("a"), GroupName("g"))
    queues = ReadyQueues()
    late = replace(ready(1, key, 0, Resources(), START), expires_at=START)
    queues.add(late)
    queues.add(ready(2, key, 0, Resources(), START))
    assert [c.task.seq for c in queues.plan(Fleet.of(rooms_of((4, 4000, 4))), START, 10)] == [2]


def calls_of(queues: ReadyQueues, rooms: list[Room]) -> int:
    """Python function calls that one plan takes."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        plan = queues.plan(Fleet.of(rooms), START, 64)
    finally:
        sys.setprofile(None)
    assert len(plan) == 64
    return calls


def filled(tasks: int, groups: int, *, rising: bool = False) -> ReadyQueues:
    """Queues with so many tasks in so many groups."""
    queues = ReadyQueues()
    for seq in range(tasks):
        key = QueueKey(WorkspaceName("a"), GroupName(f"g{seq % groups}"))
        queues.add(ready(seq, key, seq if rising else 0, Resources(), START))
    return queues


@pytest.mark.parametrize("rising", [False, True])
def test_memory_and_cost_do_not_grow_with_what_waits(rising: bool) -> None:
    """A hundred thousand tasks leave as much in memory, and cost as much, as a thousand."""
    rooms = rooms_of((1000, 1_000_000, 1000))
    few, many = filled(1000, 4, rising=rising), filled(100_000, 4, rising=rising)
    assert all(len(queue.window) == window.WINDOW for queue in many._queues.values())
    heaps = [heap for w in many._workspaces.values() for heap in w.heaps.values()]
    assert sum(map(len, heaps)) <= 2 * 4 + window.SLACK + 1
    assert calls_of(many, rooms) <= calls_of(few, rooms) * 1.3


@pytest.mark.parametrize("limit", [0, 1000])
def test_waiting_for_a_pool_costs_the_same_however_many_groups_wait(limit: int) -> None:
    """Heads that may go nowhere are left out together, and are in nobody's way."""

    def filled_pool(groups: int) -> ReadyQueues:
        queues = ReadyQueues(Pools([Pool("job", frozenset({WorkerId("w0")}), limit)]))
        for seq in range(groups):
            key = QueueKey(WorkspaceName("a"), GroupName(f"job{seq}"))
            queues.add(ready(seq, key, 1, Resources(), START, "container"))
        for seq in range(groups, groups + 64):
            key = QueueKey(WorkspaceName("a"), GroupName("other"))
            queues.add(ready(seq, key, 0, Resources(), START))
        return queues

    rooms = [with_container(one) for one in rooms_of((1000, 1_000_000, 1000))]
    few, many = filled_pool(100), filled_pool(3000)
    assert calls_of(many, rooms) <= calls_of(few, rooms) * 1.3
    kinds = {one.task.requirements.runtime for one in few.plan(Fleet.of(rooms), START, 64)}
    assert kinds == ({"container", "command"} if limit else set())


def with_container(room: Room) -> Room:
    """The same worker with an engine."""
    return replace(room, runtimes=frozenset({"command", "container"}))


def test_a_host_that_comes_back_takes_over() -> None:
    """The first pool with a usable host is used, and only while it has one."""
    key = QueueKey(WorkspaceName("a"), GroupName("job"))
    first, second = frozenset({WorkerId("w0")}), frozenset({WorkerId("w1")})
    queues = ReadyQueues(Pools([Pool("j", first, 1), Pool("", second, 1)]))
    here, away = rooms_of((9, 9000, 9), (9, 9000, 9))
    here, away = with_container(here), with_container(away)
    absent = {"container": RuntimeStatus(False, "engine e is unreachable", after(START, 20))}
    gone = replace(here, runtimes=frozenset({"command"}), absent=absent)
    for seq in range(1, 5):
        queues.add(ready(seq, key, 0, Resources(), START, "container"))
    assert [(c.worker_id, c.pool) for c in queues.plan(Fleet.of([gone, away]), START, 9)] == [
        ("w1", 1)
    ]
    waits = ready(2, key, 0, Resources(), START, "container")
    told = queues.explain(waits, Fleet.of([gone, away]), START)
    assert (told.code, told.summary) == ("pool_limit", "pool 2 is at its limit of 1")
    assert [(c.worker_id, c.pool) for c in queues.plan(Fleet.of([here, away]), START, 9)] == [
        ("w0", 0)
    ]
    told = queues.explain(waits, Fleet.of([here, away]), START)
    assert told.detail == {"pool": 1, "limit": 1, "running": 1}
    told = queues.explain(waits, Fleet.of([gone]), START)
    assert told.code == "no_runtime"
    assert told.summary == (
        "no worker can run a container now: engine e is unreachable, tried again in 20 s"
    )
    queues.ended(key, 0)
    assert [(c.worker_id, c.pool) for c in queues.plan(Fleet.of([here, away]), START, 9)] == [
        ("w0", 0)
    ]
    stranger = Pools([Pool("x", first)]).placement_class(GroupName("job"), "container")
    assert stranger.pools == ()
