# ruff: noqa: D102 - rules and steps of the machine are told by their names
"""The scheduler's decisions against a naive one that sorts everything anew each time."""

import itertools
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
from naive_scheduler import GIB, START, Naive, ready, rooms_of

from taskyard.core import fairness
from taskyard.core.demand import ReadyTask
from taskyard.core.fairness import Chosen, QueueKey, ReadyQueues
from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.instants import after
from taskyard.core.placement import Room
from taskyard.core.resources import Resources

WINDOW = 3
LOOK_PAST = 1
WORKSPACES = st.sampled_from([WorkspaceName("a"), WorkspaceName("b"), WorkspaceName("c")])
GROUPS = st.sampled_from([GroupName("g"), GroupName("h"), GroupName("i"), GroupName("j")])
KEYS = st.builds(QueueKey, WORKSPACES, GROUPS)
ASKED = st.sampled_from(
    [
        Resources(),
        Resources(),
        Resources(1000),
        Resources(500, GIB),
        Resources(None, 3 * GIB),
        Resources(slots=0),
    ]
)
INDEX = st.integers(0, 20)


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
            room.plus(task.demand.resources) if room.worker_id == worker else room
            for room in self.rooms
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
        assert room.free.fits(task.demand.resources)
        del self.naive.tasks[task.seq]
        self.naive.served[key.workspace] = max(self.naive.served.values(), default=0) + 1
        self._hold(chosen)
        self.naive.stuck = set(self.queues._stuck)

    def _hold(self, chosen: Chosen) -> None:
        self.held.append((chosen.task, chosen.worker_id))
        self.naive.running[QueueKey(chosen.task.workspace, chosen.task.group)] += 1
        self.rooms = [
            room.minus(chosen.task.demand.resources) if room.worker_id == chosen.worker_id else room
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
