# ruff: noqa: D102 - rules and steps of the machine are told by their names
"""The scheduler's decisions against a naive one that sorts everything anew each time."""

import itertools
import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from taskyard.core import fairness
from taskyard.core.fairness import Chosen, QueueKey, ReadyQueues, ReadyTask
from taskyard.core.ids import GroupName, IncarnationId, TaskId, WorkerId, WorkspaceName
from taskyard.core.instants import SECOND, Instant, after
from taskyard.core.placement import Room
from taskyard.core.resources import Capacity, Resources

WINDOW = 3
LOOK_PAST = 1
GIB = 1 << 30
WORKSPACES = st.sampled_from([WorkspaceName("a"), WorkspaceName("b"), WorkspaceName("c")])
GROUPS = st.sampled_from([GroupName("g"), GroupName("h"), GroupName("i"), GroupName("j")])
KEYS = st.builds(QueueKey, WORKSPACES, GROUPS)
ASKED = st.sampled_from(
    [Resources(), Resources(), Resources(1000), Resources(500, GIB), Resources(None, 3 * GIB)]
)
INDEX = st.integers(0, 20)
START = Instant(1_700_000_000 * SECOND)


def ready(seq: int, key: QueueKey, priority: int, asked: Resources, now: Instant) -> ReadyTask:
    """A task that became ready now."""
    return ReadyTask(seq, TaskId(f"task-{seq}"), key.workspace, key.group, priority, asked, now)


def rooms_of(*sizes: tuple[int, int, int]) -> list[Room]:
    """Empty workers w0, w1 … with slots, thousandths of a core, GiB."""
    rooms = []
    for number, (slots, cpu, gib) in enumerate(sizes):
        capacity = Capacity(slots, cpu, gib * GIB)
        name = WorkerId(f"w{number}")
        rooms.append(Room(name, IncarnationId(f"life-{number}"), capacity, capacity))
    return rooms


class Naive:
    """Everything that is ready in one dictionary; every decision a sort."""

    def __init__(self) -> None:
        self.tasks: dict[int, ReadyTask] = {}
        self.running: Counter[QueueKey] = Counter()
        self.served: dict[WorkspaceName, int] = {}
        self.paused: set[QueueKey] = set()
        self.limits: dict[QueueKey, int] = {}
        self.workspace_limits: dict[WorkspaceName, int] = {}
        self.stuck: set[int] = set()

    def queue(self, key: QueueKey) -> list[ReadyTask]:
        """One group in order."""
        mine = [t for t in self.tasks.values() if (t.workspace, t.group) == key]
        return sorted(mine, key=lambda task: (-task.priority, task.seq))

    def keys(self) -> set[QueueKey]:
        """All groups with something ready."""
        return {QueueKey(task.workspace, task.group) for task in self.tasks.values()}

    def share(self, workspace: WorkspaceName) -> tuple[int, int]:
        """Fewest running first, then served longest ago."""
        running = sum(n for key, n in self.running.items() if key.workspace == workspace)
        return running, self.served.get(workspace, 0)

    def may_go(self, key: QueueKey) -> bool:
        """Whether limits and pauses let a group go."""
        limit = self.limits.get(key)
        cap = self.workspace_limits.get(key.workspace)
        return (
            key not in self.paused
            and (limit is None or self.running[key] < limit)
            and (cap is None or self.share(key.workspace)[0] < cap)
        )

    def heads(self, workspace: WorkspaceName) -> list[ReadyTask]:
        """First tasks of the groups that may go, in order."""
        found = [
            self.queue(key)[0]
            for key in self.keys()
            if key.workspace == workspace and self.may_go(key)
        ]
        return sorted(found, key=lambda task: (-task.priority, task.seq))

    def reserved(self, rooms: list[Room], now: Instant) -> dict[WorkerId, int]:
        """Workers kept free for heads that wait for long."""
        kept: dict[WorkerId, int] = {}
        heads = {h.seq: h for w in {k.workspace for k in self.keys()} for h in self.heads(w)}
        for seq in sorted(self.stuck & heads.keys()):
            if now - heads[seq].queued_at < 30 * SECOND:
                continue
            able = [
                room
                for room in rooms
                if room.accepting
                and room.worker_id not in kept
                and room.total.fits(heads[seq].resources)
            ]
            if able:
                best = max(able, key=lambda room: (room.free.memory_bytes, room.free.slots))
                kept[best.worker_id] = seq
        return kept

    def room_for(self, task: ReadyTask, rooms: list[Room], now: Instant) -> Room | None:
        """The least loaded worker that is open to a task and has room."""
        kept = self.reserved(rooms, now)
        able = [
            room
            for room in rooms
            if room.accepting
            and kept.get(room.worker_id, task.seq) == task.seq
            and room.free.fits(task.resources)
        ]
        return min(able, key=lambda room: 1 - room.free.slots / room.total.slots, default=None)

    def choices(self, rooms: list[Room], now: Instant) -> list[tuple[int, WorkerId, set[int]]]:
        """What may be chosen next (several only if workspaces are tied), and who is passed over."""
        if not any(room.accepting for room in rooms):
            return []
        passed: set[int] = set()
        options = []
        by_name = {room.worker_id: room for room in rooms}
        for worker, seq in self.reserved(rooms, now).items():
            if by_name[worker].free.fits(self.tasks[seq].resources):
                return [(seq, worker, passed)]
        shares: dict[tuple[int, int], list[WorkspaceName]] = {}
        for workspace in {key.workspace for key in self.keys()}:
            shares.setdefault(self.share(workspace), []).append(workspace)
        for share in sorted(shares):
            tied = []
            for workspace in shares[share]:
                for head in self.heads(workspace)[: fairness.LOOK_PAST + 1]:
                    room = self.room_for(head, rooms, now)
                    if room is not None:
                        tied.append((head.seq, room.worker_id, set(passed)))
                        break
                    passed.add(head.seq)
            if tied:
                options = tied
                break
        return options


class FairnessMachine(RuleBasedStateMachine):
    """Drives the real queues and the naive ones with the same events."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = ReadyQueues()
        self.naive = Naive()
        self.now = START
        self.rooms: list[Room] = []
        self.held: list[tuple[ReadyTask, WorkerId]] = []
        self.count = itertools.count(1)

    @initialize(
        sizes=st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from([1000, 2500]), st.sampled_from([2, 4])),
            min_size=1,
            max_size=3,
        )
    )
    def begin(self, sizes: list[tuple[int, int, int]]) -> None:
        self.rooms = rooms_of(*sizes)

    # -- events ------------------------------------------------------------------------------

    @rule(key=KEYS, priority=st.integers(-1, 1), asked=ASKED, count=st.integers(1, 5))
    def add(self, key: QueueKey, priority: int, asked: Resources, count: int) -> None:
        for _ in range(count):
            task = ready(next(self.count), key, priority, asked, self.now)
            self.naive.tasks[task.seq] = task
            self.queues.add(task)

    @rule(index=INDEX)
    def add_again(self, index: int) -> None:
        if self.naive.tasks:
            self.queues.add(list(self.naive.tasks.values())[index % len(self.naive.tasks)])

    @rule(index=INDEX)
    def remove(self, index: int) -> None:
        if self.naive.tasks:
            task = list(self.naive.tasks.values())[index % len(self.naive.tasks)]
            del self.naive.tasks[task.seq]
            self.naive.stuck.discard(task.seq)
            self.queues.remove(task.workspace, task.group, task.seq)

    @rule(index=INDEX, priority=st.integers(-1, 1))
    def reprioritize(self, index: int, priority: int) -> None:
        if self.naive.tasks:
            task = list(self.naive.tasks.values())[index % len(self.naive.tasks)]
            self.remove(index)
            task = replace(task, priority=priority)
            self.naive.tasks[task.seq] = task
            self.queues.add(task)

    @rule(key=KEYS)
    def forget_a_window(self, key: QueueKey) -> None:
        self.naive.stuck -= {task.seq for _, task in self._window(key)}
        self.queues.reread(key)

    @rule(key=KEYS, paused=st.booleans(), limit=st.none() | st.integers(0, 2))
    def set_group(self, key: QueueKey, paused: bool, limit: int | None) -> None:
        self.queues.set_group(key, paused=paused, limit=limit)
        self.naive.paused = self.naive.paused - {key} | ({key} if paused else set())
        self.naive.limits.pop(key, None)
        if limit is not None:
            self.naive.limits[key] = limit

    @rule(limits=st.dictionaries(WORKSPACES, st.integers(0, 3)))
    def set_workspaces(self, limits: dict[WorkspaceName, int]) -> None:
        self.queues.set_workspaces(limits)
        self.naive.workspace_limits = limits

    @rule(index=INDEX, again=st.booleans())
    def end(self, index: int, again: bool) -> None:
        """An attempt ends, or a planned one did not come about and its task is ready again."""
        if not self.held:
            return
        task, worker = self.held.pop(index % len(self.held))
        key = QueueKey(task.workspace, task.group)
        self.rooms = [
            room.plus(task.resources) if room.worker_id == worker else room for room in self.rooms
        ]
        self.naive.running[key] -= 1
        self.queues.ended(key)
        if again:
            self.naive.tasks[task.seq] = task
            self.queues.add(task)

    @rule(key=KEYS, index=INDEX, asked=ASKED)
    def find_running(self, key: QueueKey, index: int, asked: Resources) -> None:
        """After a restart something runs that nobody planned."""
        room = self.rooms[index % len(self.rooms)]
        if not room.free.fits(asked):
            return
        task = ready(next(self.count), key, 0, asked, self.now)
        self._hold(Chosen(task, room.worker_id, room.incarnation))
        self.queues.began(key)

    @rule(index=INDEX)
    def drain_worker(self, index: int) -> None:
        at = index % len(self.rooms)
        room = self.rooms[at]
        self.rooms[at] = Room(
            room.worker_id, room.incarnation, room.total, room.free, not room.accepting
        )

    @rule(seconds=st.sampled_from([1, 29, 31]))
    def pass_time(self, seconds: int) -> None:
        self.now = after(self.now, seconds)

    # -- decisions ---------------------------------------------------------------------------

    @rule(times=st.integers(1, 6))
    def plan_one_by_one(self, times: int) -> None:
        """Each single choice is the one that sorting everything leads to."""
        for _ in range(times):
            self.refill()
            told = self.explained()
            options = self.naive.choices(self.rooms, self.now)
            plan = self.queues.plan(self.rooms, self.now, 1)
            if not options:
                assert plan == []
                self.naive.stuck = set(self.queues._stuck)
                assert "starting" not in self.explained().values()
                return
            (chosen,) = plan
            assert (chosen.task.seq, chosen.worker_id) in [option[:2] for option in options]
            assert told[chosen.task.seq] == "starting"
            self._take(chosen)

    @rule(most=st.integers(1, 10))
    def plan_many(self, most: int) -> None:
        """A plan holds every promise, each group in its order; told and done agree."""
        self.refill()
        starting = {seq for seq, code in self.explained().items() if code == "starting"}
        plan = self.queues.plan(self.rooms, self.now, most)
        assert len(plan) <= most
        for chosen in plan:
            self._take(chosen)
        if len(plan) < most:
            self.refill()
            codes = self.explained()
            while more := self.queues.plan(self.rooms, self.now, 10):
                for chosen in more:
                    self._take(chosen)
                plan += more
                self.refill()
                codes = self.explained()
            assert "starting" not in codes.values()
            chosen_seqs = {chosen.task.seq for chosen in plan}
            assert all(seq in chosen_seqs or seq in codes for seq in starting)
        self.naive.stuck = set(self.queues._stuck)

    def refill(self) -> None:
        """What the service does before each plan."""
        for key, mark in self.queues.starved():
            tasks = self.naive.queue(key)[:WINDOW]
            self.queues.refill(key, mark, tasks, complete=len(tasks) < WINDOW)
        assert not self.queues.starved()

    @rule(priority=st.integers(-1, 1), asked=ASKED, count=st.integers(1, 5), gone=INDEX)
    def refill_while_things_happen(
        self, priority: int, asked: Resources, count: int, gone: int
    ) -> None:
        """What was read from the store is old by the time it arrives."""
        read = [(key, mark, self.naive.queue(key)[:WINDOW]) for key, mark in self.queues.starved()]
        for key, _, _ in read:
            self.add(key, priority, asked, count)
        if not read:
            return
        removed = self.naive.queue(read[0][0])[-1 - gone % count]
        self.queues.remove(removed.workspace, removed.group, removed.seq)
        del self.naive.tasks[removed.seq]
        self.naive.stuck.discard(removed.seq)
        for key, mark, tasks in read:
            left = [task for task in tasks if task.seq in self.naive.tasks]
            self.queues.refill(key, mark, left, complete=len(tasks) < WINDOW)

    def explained(self) -> dict[int, str]:
        codes = {
            task.seq: self.queues.explain(task, self.rooms, self.now).code
            for task in self.naive.tasks.values()
        }
        for seq, code in codes.items():
            task = self.naive.tasks[seq]
            key = QueueKey(task.workspace, task.group)
            head = self.naive.queue(key)[0].seq == seq
            assert (code == "group_paused") == (key in self.naive.paused)
            if code in {"starting", "behind", "no_room", "reserved_for_other", "no_worker"}:
                assert self.naive.may_go(key)
            if code in {"group_limit", "workspace_limit", "group_paused"}:
                assert not self.naive.may_go(key)
            elif (code == "starting") and head:
                assert self.naive.room_for(task, self.rooms, self.now) is not None
            if code == "starting":
                assert head
        return codes

    def _take(self, chosen: Chosen) -> None:
        """Check one choice against everything promised, and carry it out."""
        task = chosen.task
        key = QueueKey(task.workspace, task.group)
        assert self.naive.tasks[task.seq] == task
        assert self.naive.queue(key)[0].seq == task.seq, "first come, first served in a group"
        assert self.naive.may_go(key)
        room = next(room for room in self.rooms if room.worker_id == chosen.worker_id)
        assert room.accepting
        assert room.free.fits(task.resources)
        del self.naive.tasks[task.seq]
        self.naive.served[key.workspace] = max(self.naive.served.values(), default=0) + 1
        self._hold(chosen)
        self.naive.stuck = set(self.queues._stuck)

    def _hold(self, chosen: Chosen) -> None:
        self.held.append((chosen.task, chosen.worker_id))
        self.naive.running[QueueKey(chosen.task.workspace, chosen.task.group)] += 1
        self.rooms = [
            room.minus(chosen.task.resources) if room.worker_id == chosen.worker_id else room
            for room in self.rooms
        ]

    # -- what always holds -------------------------------------------------------------------

    def _window(self, key: QueueKey) -> list[Any]:
        queue = self.queues._queues.get(key)
        return queue.window if queue is not None else []

    @invariant()
    def nothing_is_lost(self) -> None:
        """Window and store together are all that is ready, and the window is the first of it."""
        starved = {key for key, _ in self.queues.starved()}
        for key in self.naive.keys() | set(self.queues._queues):
            real = [task for _, task in self._window(key)]
            wanted = self.naive.queue(key)
            assert len(real) <= WINDOW
            assert real == wanted[: len(real)]
            queue = self.queues._queues.get(key)
            if len(real) < len(wanted):
                assert queue is not None
                assert queue.more
                assert real or key in starved

    @invariant()
    def capacity_is_kept(self) -> None:
        for room in self.rooms:
            free = room.free
            assert min(free.slots, free.cpu_millis, free.memory_bytes) >= 0

    @invariant()
    def books_agree(self) -> None:
        for key, count in self.naive.running.items():
            queue = self.queues._queues.get(key)
            assert count == (queue.running if queue is not None else 0)


def test_decisions_equal_those_of_sorting_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, fairness, limits, room, reservations and explanations, whatever happens when."""
    monkeypatch.setattr(fairness, "WINDOW", WINDOW)
    monkeypatch.setattr(fairness, "LOOK_PAST", LOOK_PAST)
    run_state_machine_as_test(
        FairnessMachine, settings=settings(max_examples=150, stateful_step_count=40)
    )


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
    queues.plan(rooms, now, 4)
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
        for chosen in queues.plan(rooms, now, 10):
            if chosen.task is big:
                assert 30 <= second <= 30 + 11
                return
            running.append((second + 10, small, key))
            rooms = [rooms[0].minus(small)]
        if second > 31:
            other = ready(next(count), key, 0, small, now)
            assert queues.explain(other, rooms, now).code in {"reserved_for_other", "no_room"}
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
    assert queues.plan(busy, later, 10) == []
    small = ready(2, other, 0, Resources(), later)
    queues.add(small)
    assert queues.explain(small, busy, later).code == "reserved_for_other"
    queues.set_group(key, paused=True, limit=None)
    assert queues.explain(small, busy, later).code == "starting"
    queues.set_group(key, paused=False, limit=None)
    assert queues.explain(small, busy, later).code == "reserved_for_other"
    first = ready(3, key, 1, Resources(), later)
    queues.add(first)
    assert [chosen.task for chosen in queues.plan(busy, later, 1)] == [first]


def test_a_workspace_is_looked_through_only_so_far() -> None:
    """Behind many heads without room even a small task waits, and is told so."""
    queues, rooms = ReadyQueues(), rooms_of((4, 4000, 4))
    workspace = WorkspaceName("a")
    for seq in range(fairness.LOOK_PAST + 1):
        key = QueueKey(workspace, GroupName(f"large-{seq}"))
        queues.add(ready(seq, key, 0, Resources(None, 9 * GIB), START))
    small = ready(1000, QueueKey(workspace, GroupName("small")), 0, Resources(), START)
    queues.add(small)
    assert queues.plan(rooms, START, 10) == []
    wait = queues.explain(small, rooms, START)
    assert wait.code == "behind"
    assert str(fairness.LOOK_PAST) in wait.summary
    queues.remove(workspace, GroupName("large-0"), 0)
    assert queues.explain(small, rooms, START).code == "starting"
    assert [chosen.task for chosen in queues.plan(rooms, START, 10)] == [small]


def test_what_has_expired_is_not_started() -> None:
    """Nor does it stand in the way of what comes after it."""
    key = QueueKey(WorkspaceName("a"), GroupName("g"))
    queues = ReadyQueues()
    late = replace(ready(1, key, 0, Resources(), START), expires_at=START)
    queues.add(late)
    queues.add(ready(2, key, 0, Resources(), START))
    assert [c.task.seq for c in queues.plan(rooms_of((4, 4000, 4)), START, 10)] == [2]


def calls_of(queues: ReadyQueues, rooms: list[Room]) -> int:
    """Python function calls that one plan takes."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        plan = queues.plan(rooms, START, 64)
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
    assert all(len(queue.window) == fairness.WINDOW for queue in many._queues.values())
    assert sum(len(w.heap) for w in many._workspaces.values()) <= 2 * 4 + fairness.SLACK + 1
    assert calls_of(many, rooms) <= calls_of(few, rooms) * 1.3
