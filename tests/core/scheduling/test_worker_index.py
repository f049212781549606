"""The index over workers: the same choice as a scan, for a fraction of its steps."""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from naive_scheduler import GIB, START, ready, rooms_of

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.resources import Resources
from taskyard.core.scheduling import fleet as fleet_module
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet, Selector
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import (
    Composite,
    MatchTag,
    MaxPerHost,
    OnePerHost,
    Policy,
    static_part,
)
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.scheduling.worker_index import WorkerIndex

KEY = QueueKey(WorkspaceName("a"), GroupName("g"))
SIZES = st.tuples(st.integers(0, 3), st.sampled_from([1000, 2500, 4000]), st.integers(1, 4))
ASKED = st.builds(
    Resources,
    st.none(),
    st.none() | st.sampled_from([GIB, 3 * GIB]),
    slots=st.integers(0, 3),
    cores=st.none() | st.integers(1, 3),
)


def scan(rooms: list[Room], asked: Resources) -> WorkerId | None:
    """The least loaded with room, the first of equals."""
    able = [room for room in rooms if room.fits(Requirements(asked))]
    return min(able, key=lambda room: room.load).worker_id if able else None


def best(
    worker_index: WorkerIndex, rooms: dict[WorkerId, Room], asked: Resources
) -> WorkerId | None:
    """The same by the index."""
    return worker_index.best(asked, lambda name: rooms[name].fits(Requirements(asked)))


@given(st.lists(SIZES, max_size=40), st.lists(st.tuples(st.integers(0, 50), ASKED), max_size=40))
def test_the_choice_is_that_of_a_scan(
    sizes: list[tuple[int, int, int]], steps: list[tuple[int, Resources]]
) -> None:
    """While workers fill up, leave and come back."""
    rooms = rooms_of(*sizes)
    worker_index = WorkerIndex()
    for room in rooms:
        worker_index.put(room)
    for number, asked in steps:
        by_id = {room.worker_id: room for room in rooms}
        chosen = best(worker_index, by_id, asked)
        expected = scan(rooms, asked)
        assert (chosen is None) == (expected is None)
        if chosen is not None and expected is not None:
            # A worker that came back may stand elsewhere among equals.
            assert by_id[chosen].load == by_id[expected].load
            place = rooms.index(by_id[chosen])
            rooms[place] = rooms[place].minus(rooms[place].grant(asked))
            worker_index.put(rooms[place])
        if rooms and number % 5 == 0:
            gone = rooms.pop(number % len(rooms))
            worker_index.remove(gone.worker_id)
            assert gone.worker_id not in worker_index
            if number % 2:
                rooms.append(gone)
                worker_index.put(gone)
        assert set(worker_index) == {room.worker_id for room in rooms}
        assert len(worker_index) == len(rooms)


def calls_of_a_decision(workers: int, asked: Resources) -> int:
    """Python function calls that placing one task takes."""
    fleet = Fleet.of(rooms_of(*[(4, 4000, 4)] * workers))
    queues = ReadyQueues()
    queues.add(ready(0, KEY, 0, Resources(), START))
    assert len(queues.plan(fleet, START, 1)) == 1
    queues.add(ready(1, KEY, 0, asked, START))
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        plan = queues.plan(fleet, START, 1)
    finally:
        sys.setprofile(None)
    assert bool(plan) == (asked.slots < 5)
    return calls


def test_a_decision_does_not_look_at_all_workers() -> None:
    """A hundred times as many cost a few steps more, also if none of them has room."""
    for asked in (Resources(), Resources(cores=1), Resources(slots=5)):
        few, many = calls_of_a_decision(20, asked), calls_of_a_decision(2000, asked)
        assert many <= few * 3, asked


def test_indexes_are_bounded_and_never_wrong() -> None:
    """However many tags somebody asks for."""
    fleet = Fleet.of(rooms_of((1, 4000, 4)))
    first = fleet.worker_indexes(Selector("command"))[0]
    for number in range(3 * fleet_module._LADDERS):
        assert not fleet.worker_indexes(Selector("command", None, MatchTag(str(number))))[0]
    assert len(fleet._eligible) == fleet_module._LADDERS
    task = ready(1, KEY, 0, Resources(), START)
    fleet.take(WorkerId("w0"), KEY, Resources())
    assert fleet.worker_indexes(Selector("command"))[0] is not first
    assert fleet.choose(task, Selector("command"), START) is None


def calls_with_large_ones_waiting(workers: int, need: int) -> int:
    """Python function calls of a plan while workers are kept free for large tasks."""
    rooms = [room.minus(Resources(slots=2)) for room in rooms_of(*[(4, 4000, 4)] * workers)]
    fleet, queues = Fleet.of(rooms), ReadyQueues()
    for seq in range(5):
        key = QueueKey(WorkspaceName("a"), GroupName(f"large-{seq}"))
        queues.add(ready(seq, key, 0, Resources(slots=need), START))
    assert queues.plan(fleet, START, 9) == []
    later = after(START, 40)
    assert queues.plan(fleet, later, 9) == []
    queues.add(ready(9, KEY, 0, Resources(), later))
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        plan = queues.plan(fleet, later, 1)
    finally:
        sys.setprofile(None)
    assert [chosen.task.seq for chosen in plan] == [9]
    return calls


def test_keeping_workers_free_does_not_look_at_all_of_them() -> None:
    """Neither for what could run if others ended, nor for what could never run."""
    for need in (3, 5):
        few = calls_with_large_ones_waiting(20, need)
        many = calls_with_large_ones_waiting(2000, need)
        assert many <= few * 3, need


POLICY = st.sampled_from(
    [OnePerHost(), OnePerHost(), MaxPerHost(2), Composite((MaxPerHost(2), MatchTag("gpu")))]
)
GROUP = st.sampled_from(
    [QueueKey(KEY.workspace, GroupName("g")), QueueKey(KEY.workspace, GroupName("h"))]
)
STEP = st.tuples(
    st.sampled_from(["place"] * 6 + ["end"] * 4 + ["drain", "gone"]), GROUP, st.integers(0, 9)
)


@pytest.mark.parametrize("patience", [1, 1000])
@given(steps=st.lists(st.tuples(STEP, POLICY), min_size=20, max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_indexes_of_counts_follow_what_happens(
    patience: int,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[tuple[str, QueueKey, int], Policy]],
) -> None:
    """A fleet that was there all the time decides as one that was just made."""
    monkeypatch.setattr(fleet_module, "_PATIENCE", patience)
    fleet = Fleet.of(rooms_of(*[(9, 9000, 9)] * 2))
    held: list[tuple[WorkerId, QueueKey]] = []
    for seq, ((action, key, number), policy) in enumerate(steps):
        name = WorkerId(f"w{number % 2}")
        if action == "place":
            task = ready(seq, key, 0, Resources(), START, policy=policy)
            again = Fleet.of(fleet.rooms.values(), held)
            selector = Selector("command", None, static_part(policy))
            chosen, expected = (
                fleet.choose(task, selector, START),
                again.choose(task, selector, START),
            )
            assert (chosen is None) == (expected is None)
            if chosen is not None and expected is not None:
                assert chosen.load == expected.load
                assert fleet.refusal(task, chosen.worker_id) is None
                fleet.take(chosen.worker_id, key, Resources())
                held.append((chosen.worker_id, key))
        elif action == "end" and held:
            fleet.give_back(*held.pop(number % len(held)), Resources())
        elif action == "drain" and name in fleet.rooms:
            room = fleet.rooms[name]
            fleet.put(replace(room, accepting=not room.accepting))
        elif action == "gone" and len(fleet.rooms) > 1:
            fleet.remove(name)
            held = [one for one in held if one[0] != name]


@given(
    st.lists(SIZES, min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 39), ASKED), max_size=60),
    ASKED,
    st.sets(st.integers(0, 39), max_size=5),
)
def test_the_roomiest_is_that_of_a_scan(
    sizes: list[tuple[int, int, int]],
    steps: list[tuple[int, Resources]],
    asked: Resources,
    refused: set[int],
) -> None:
    """Of those that could ever have room: most memory free, then most slots, then the first."""
    rooms = {room.worker_id: room for room in rooms_of(*sizes)}
    free, whole = WorkerIndex(), WorkerIndex()
    for room in rooms.values():
        free.put(room)
        whole.put(room.emptied)
    for number, taken in steps:
        found = rooms.get(WorkerId(f"w{number}"))
        if found is not None and found.fits(Requirements(taken)):
            rooms[found.worker_id] = found.minus(found.grant(taken))
            free.put(rooms[found.worker_id])

    def will_do(name: WorkerId) -> bool:
        return int(name[1:]) not in refused and rooms[name].could_fit(Requirements(asked))

    able = [room for name, room in rooms.items() if will_do(name)]
    most = max(able, key=lambda room: (room.free.memory_bytes, room.free.slots), default=None)
    wanted = None if most is None else most.worker_id
    assert next(filter(will_do, free.by_room(whole, asked)), None) == wanted


def test_the_roomiest_is_found_without_a_scan() -> None:
    """Among thousands that are full, or too small for it at any time."""
    rooms = rooms_of(*[(4, 1000, 1)] * 4000, *[(4, 8000, 8)] * 96)
    free, whole = WorkerIndex(), WorkerIndex()
    for room in rooms:
        used = room.minus(Resources(None, 7 * GIB)) if room.total.memory_bytes > GIB else room
        free.put(used)
        whole.put(room)
    assert list(free.by_room(whole, Resources(4000, 2 * GIB)))[:2] == ["w4000", "w4001"]


def test_heads_that_wait_long_are_given_workers_in_one_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each the next one, and none of those before is looked at again."""
    looked: list[WorkerId] = []
    could_fit = Room.could_fit

    def counted(room: Room, requirements: Requirements) -> bool:
        looked.append(room.worker_id)
        return could_fit(room, requirements)

    monkeypatch.setattr(Room, "could_fit", counted)
    rooms = [room.minus(Resources(None, GIB)) for room in rooms_of(*[(1, 1000, 1)] * 100)]
    workers, queues = Fleet.of(rooms), ReadyQueues()
    for seq in range(30):
        key = QueueKey(WorkspaceName("a"), GroupName(f"g{seq}"))
        queues.add(ready(seq, key, 0, Resources(500, GIB), START))
    assert queues.plan(workers, START, 64) == []
    assert queues.plan(workers, after(START, 60), 64) == []
    assert looked == [f"w{number}" for number in range(30)]


def test_heads_that_ask_for_the_same_are_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that found no room for one finds none for the others, and does not look again."""
    searches = 0
    choose = Fleet.choose

    def counted(*args: Any, **options: Any) -> Room | None:
        nonlocal searches
        searches += 1
        return choose(*args, **options)

    monkeypatch.setattr(Fleet, "choose", counted)
    workers = Fleet.of(rooms_of((1, 1000, 1)))
    queues = ReadyQueues()
    for seq in range(30):
        key = QueueKey(WorkspaceName(f"w{seq % 3}"), GroupName(f"g{seq}"))
        asked = Resources(500, GIB // 2 if seq % 2 else GIB // 4)
        queues.add(ready(seq, key, 0, asked, START))
    assert len(queues.plan(workers, START, 64)) == 1
    # The one that is placed, and one for each demand.
    assert searches == 3
    searches = 0
    assert queues.plan(workers, START, 64) == []
    assert searches == 2
