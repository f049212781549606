# ruff: noqa: D102 - rules and steps of the machine are told by their names
"""The scheduler's decisions against a naive one that sorts everything again each time."""

import itertools
from typing import Any

import pytest
from fairness_inputs import (
    ASKED,
    CLOSED,
    INDEX,
    KEYS,
    LOOK_PAST,
    POLICY,
    POOL,
    RUNTIME,
    RUNTIMES,
    SHUT,
    WINDOW,
    WORKSPACES,
)
from hypothesis import settings, stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace
from naive_scheduler import START, Naive, ready, rooms_of

from taskyard.core.availability import RuntimeStatus
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import after
from taskyard.core.resources import Resources
from taskyard.core.scheduling import fairness, fleet, window
from taskyard.core.scheduling.candidates import Chosen
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import Policy
from taskyard.core.scheduling.pools import Pool, Pools
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import Requirements


class FairnessMachine(RuleBasedStateMachine):
    """Drives the real queues and the naive ones with the same events."""

    def __init__(self) -> None:
        super().__init__()
        self.pools = Pools()
        self.queues = ReadyQueues(self.pools)
        self.naive = Naive()
        self.now = START
        self.rooms: list[Room] = []
        self.held: list[Chosen] = []
        self.count = itertools.count(1)

    @initialize(
        sizes=st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from([1000, 2500]), st.sampled_from([2, 4])),
            min_size=1,
            max_size=3,
        ),
        pools=st.just([]) | st.lists(POOL, min_size=1, max_size=3),
    )
    def begin(self, sizes: list[tuple[int, int, int]], pools: list[Pool]) -> None:
        every = frozenset({"command", "container", "simulation"})
        self.rooms = [replace(room, runtimes=every) for room in rooms_of(*sizes)]
        self.pools = Pools(pools)
        self.queues = ReadyQueues(self.pools)
        self.naive.pools = pools

    # -- events ------------------------------------------------------------------------------

    @rule(
        key=KEYS,
        priority=st.integers(-1, 1),
        asked=ASKED,
        count=st.integers(1, 5),
        runtime=RUNTIME,
        policy=POLICY,
    )
    def add(
        self,
        key: QueueKey,
        priority: int,
        asked: Resources,
        count: int,
        runtime: str,
        policy: Policy | None,
    ) -> None:
        for _ in range(count):
            task = ready(next(self.count), key, priority, asked, self.now, runtime, policy)
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
        chosen = self.held.pop(index % len(self.held))
        task, worker = chosen.task, chosen.worker_id
        key = QueueKey(task.workspace, task.group)
        self.rooms = [
            room.plus(chosen.granted) if room.worker_id == worker else room for room in self.rooms
        ]
        self.naive.running[key] -= 1
        self.naive.held.remove((task, worker))
        self.queues.ended(key, self.pools.of(task.group, task.requirements.runtime, worker))
        if again:
            self.naive.tasks[task.seq] = task
            self.queues.add(task)

    @rule(key=KEYS, index=INDEX, asked=ASKED, runtime=RUNTIME)
    def find_running(self, key: QueueKey, index: int, asked: Resources, runtime: str) -> None:
        """After a restart something runs that nobody planned, even past a limit."""
        room = self.rooms[index % len(self.rooms)]
        if not room.fits(Requirements(asked)):
            return
        task = ready(next(self.count), key, 0, asked, self.now, runtime)
        self._hold(Chosen(task, room.worker_id, room.incarnation, None, room.grant(asked)))
        self.queues.began(key, self.pools.of(key.group, runtime, room.worker_id))

    @rule(index=INDEX)
    def drain_worker(self, index: int) -> None:
        at = index % len(self.rooms)
        room = self.rooms[at]
        self.rooms[at] = replace(room, accepting=not room.accepting)

    @rule(index=INDEX, runtimes=RUNTIMES)
    def change_runtimes(self, index: int, runtimes: frozenset[str]) -> None:
        """Engines come and go."""
        at = index % len(self.rooms)
        absent = {name: RuntimeStatus(False, "gone") for name in {"container"} - runtimes}
        self.rooms[at] = replace(self.rooms[at], runtimes=runtimes, absent=absent)

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
            plan = self.queues.plan(self.fleet(), self.now, 1)
            if not options:
                assert plan == []
                self.naive.stuck, self.naive.kept = set(self.queues._stuck), dict(self.queues._kept)
                assert "starting" not in self.explained().values()
                return
            (chosen,) = plan
            assert (chosen.task.seq, chosen.worker_id) in [option[:2] for option in options]
            assert told[chosen.task.seq] == "starting"
            self._take(chosen)

    @rule(key=KEYS, asked=ASKED, runtime=RUNTIME, policy=POLICY)
    def choose_at_once(
        self, key: QueueKey, asked: Resources, runtime: str, policy: Policy | None
    ) -> None:
        """Where nobody waits, what is chosen is what would be chosen once it were known."""
        self.refill()
        keys = self.naive.keys()
        names = {one.workspace for one in keys}
        heads = [head for name in names for head in self.naive.heads(name, self.rooms)]
        task = ready(next(self.count), key, 0, asked, self.now, runtime, policy)
        chosen = self.queues.try_place(task, self.fleet(), self.now)
        self.naive.tasks[task.seq] = task
        options = [one[:2] for one in self.naive.choices(self.rooms, self.now)]
        if chosen is not None:
            assert not heads
            assert (task.seq, chosen.worker_id) in options
            self._take(chosen)
        else:
            # Behind others of its group it waits its turn, even where it would go before them.
            assert heads or key in keys or not options
            del self.naive.tasks[task.seq]

    @rule(most=st.integers(1, 10))
    def plan_many(self, most: int) -> None:
        """A plan holds every promise, each group in its order; told and done agree."""
        self.refill()
        starting = {seq for seq, code in self.explained().items() if code == "starting"}
        plan = self.queues.plan(self.fleet(), self.now, most)
        assert len(plan) <= most
        for chosen in plan:
            self._take(chosen)
        if len(plan) < most:
            self.refill()
            codes = self.explained()
            while more := self.queues.plan(self.fleet(), self.now, 10):
                for chosen in more:
                    self._take(chosen)
                plan += more
                self.refill()
                codes = self.explained()
            assert "starting" not in codes.values()
            chosen_seqs = {chosen.task.seq for chosen in plan}
            assert all(seq in chosen_seqs or seq in codes for seq in starting)
        self.naive.stuck, self.naive.kept = set(self.queues._stuck), dict(self.queues._kept)

    def fleet(self) -> Fleet:
        """The workers, with what runs on each."""
        running = [
            (one.worker_id, QueueKey(one.task.workspace, one.task.group)) for one in self.held
        ]
        return Fleet.of(self.rooms, running)

    def refill(self) -> None:
        """What the service does before each plan."""
        for key, mark in self.queues.starved():
            tasks = self.naive.queue(key)[:WINDOW]
            self.queues.refill(key, mark, tasks, complete=len(tasks) < WINDOW)
        assert not self.queues.starved()

    @rule(
        priority=st.integers(-1, 1),
        asked=ASKED,
        count=st.integers(1, 5),
        gone=INDEX,
        runtime=RUNTIME,
    )
    def refill_while_things_happen(
        self, priority: int, asked: Resources, count: int, gone: int, runtime: str
    ) -> None:
        """What was read from the store is old by the time it arrives."""
        read = [(key, mark, self.naive.queue(key)[:WINDOW]) for key, mark in self.queues.starved()]
        for key, _, _ in read:
            self.add(key, priority, asked, count, runtime, None)
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
            task.seq: self.queues.explain(task, self.fleet(), self.now).code
            for task in self.naive.tasks.values()
        }
        for seq, code in codes.items():
            task = self.naive.tasks[seq]
            key = QueueKey(task.workspace, task.group)
            head = self.naive.queue(key)[0].seq == seq
            assert (code == "group_paused") == (key in self.naive.paused)
            if code in {"group_limit", "workspace_limit", "group_paused"}:
                assert not self.naive.may_go(key)
            else:
                assert self.naive.may_go(key)
                able = self.naive.placement_class(task, self.rooms)
                refused = not any(self.naive.accepts(task, room) for room in able)
                assert code in SHUT if refused else code not in SHUT
                assert (code in CLOSED) <= (not able)
            if code in {"group_limit", "workspace_limit", "group_paused", *SHUT}:
                continue
            if (code == "starting") and head:
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
        assert room in self.naive.placement_class(task, self.rooms)
        assert self.naive.has_room(task, room)
        assert chosen.pool == self.pools.of(task.group, task.requirements.runtime, room.worker_id)
        del self.naive.tasks[task.seq]
        self.naive.served[key.workspace] = max(self.naive.served.values(), default=0) + 1
        self._hold(chosen)
        self.naive.stuck, self.naive.kept = set(self.queues._stuck), dict(self.queues._kept)

    def _hold(self, chosen: Chosen) -> None:
        self.held.append(chosen)
        self.naive.running[QueueKey(chosen.task.workspace, chosen.task.group)] += 1
        self.naive.held.append((chosen.task, chosen.worker_id))
        self.rooms = [
            room.minus(chosen.granted) if room.worker_id == chosen.worker_id else room
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
    def no_core_is_given_twice(self) -> None:
        """And each is either given or free; all of a task's are of one node, as many as asked."""
        for room in self.rooms:
            held = [one for one in self.held if one.worker_id == room.worker_id]
            given = [one.granted.allotted for one in held if one.granted.allotted is not None]
            for node in room.nodes:
                mine = [one for one in given if one.node == node.number]
                cores = [core for one in mine for core in one.cores] + list(node.cores)
                offered = next(n for n in room.topology.free if n.number == node.number)
                assert sorted(cores) == sorted(offered.cores)
                taken = sum(one.memory_bytes for one in mine)
                assert node.memory_bytes + taken == offered.memory_bytes
                assert node.memory_bytes >= 0
            for one in held:
                asked, got = one.task.requirements.resources, one.granted.allotted
                assert (asked.cores or 0) == (len(got.cores) if got is not None else 0)

    @invariant()
    def pools_agree(self) -> None:
        for index, pool in enumerate(self.pools):
            held = [one for one in self.naive.held if self.naive.pool_of(*one) is pool]
            assert self.pools.running(index) == len(held)

    @invariant()
    def books_agree(self) -> None:
        for key, count in self.naive.running.items():
            queue = self.queues._queues.get(key)
            assert count == (queue.running if queue is not None else 0)


def test_decisions_equal_those_of_sorting_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, fairness, limits, room, reservations and explanations, whatever happens when."""
    monkeypatch.setattr(window, "WINDOW", WINDOW)
    monkeypatch.setattr(fairness, "LOOK_PAST", LOOK_PAST)
    monkeypatch.setattr(fleet, "_PATIENCE", 1)
    stateful.run_state_machine_as_test(
        FairnessMachine, settings=settings(max_examples=150, stateful_step_count=40)
    )
