"""Evaluating policies has a price, a share for each workspace, and a memory."""

import contextlib
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from naive_scheduler import START, ready, rooms_of

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.scheduling import rule_results, rules
from taskyard.core.scheduling.candidates import Chosen
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet, MetadataOfAll, Selector
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import MatchTag, Policy, RuleBased
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.round import LANES
from taskyard.core.scheduling.rule_budget import EMPTY, OutOfSteps, RuleBudget
from taskyard.core.scheduling.rule_results import RuleResults

A, B = WorkspaceName("a"), WorkspaceName("b")


class Purse:
    """Counts what was paid."""

    def __init__(self, owner: WorkspaceName = A) -> None:
        self.owner: WorkspaceName | None = owner
        self.spent = 0

    def spend(self, count: int) -> None:
        """Never refuses."""
        self.spent += count


def rule(number: int) -> RuleBased:
    """One of many different rules that hold nowhere, and cost some hundred steps."""
    return RuleBased(" and ".join(['size("") == 0'] * 20) + f' and worker == "x{number}"')


def add(
    queues: ReadyQueues, seq: int, workspace: WorkspaceName, policy: Policy | None, group: str = ""
) -> None:
    """A task, in a group of its own unless one is named."""
    key = QueueKey(workspace, GroupName(group or f"g{seq}"))
    queues.add(ready(seq, key, 0, Resources(), START, policy=policy))


def seqs(plan: Sequence[Chosen]) -> list[int]:
    """Which tasks were chosen."""
    return [one.task.seq for one in plan]


def test_steps_are_shared_out_among_those_who_spent_some() -> None:
    """Each gets the same, nobody more than there is room for, and nobody pays for another."""
    steps = RuleBudget(100)
    steps.of(A).spend(150)
    steps.of(B).spend(30)
    assert (steps.left(A), steps.left(B)) == (-50, 70)
    with pytest.raises(OutOfSteps):
        steps.of(A).spend(1)
    steps.of(B).spend(1)
    steps.refill(81)
    assert (steps.left(A), steps.left(B)) == (-10, 100)
    steps.refill(1_000_000)
    assert steps.left(A) == 100


def test_what_is_left_of_a_division_is_not_lost() -> None:
    """However small the portions are."""
    steps = RuleBudget(100)
    for name in (A, B):
        steps.spend(name, 100)
    for _ in range(10):
        steps.refill(1)
    assert (steps.left(A), steps.left(B)) == (5, 5)


def test_a_rule_is_evaluated_once_for_each_worker() -> None:
    """Again when the worker is another one; for a rule about all, when any of them is."""
    here = {room.worker_id: room for room in rooms_of((1, 1000, 1), (1, 1000, 1))}
    memory = RuleResults(MetadataOfAll(here))
    for name in here:
        memory.describe(name)
    room = here[WorkerId("w0")]
    narrow, wide = RuleBased('worker == "w0"'), RuleBased('"w1" in workers')
    for policy in (narrow, wide):
        first, again = Purse(), Purse()
        assert memory.refusal(policy, room, 0, first) is None
        assert memory.refusal(policy, room, 0, again) is None
        assert first.spent
        assert not again.spent
    memory.describe(WorkerId("w1"))
    free, paid = Purse(), Purse()
    memory.refusal(narrow, room, 0, free)
    memory.refusal(wide, room, 0, paid)
    assert not free.spent
    assert paid.spent
    memory.describe(WorkerId("w0"))
    memory.refusal(narrow, room, 0, free)
    assert free.spent


def test_one_workspace_does_not_make_another_one_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, for each and for all."""
    monkeypatch.setattr(rule_results, "RULES", 10)
    monkeypatch.setattr(rule_results, "IN_ALL", 15)
    (room,) = rooms_of((1, 1000, 1))
    memory = RuleResults(MetadataOfAll({room.worker_id: room}))
    memory.describe(room.worker_id)
    memory.refusal(rule(0), room, 0, Purse(B))
    for name in (A, WorkspaceName("c")):
        for number in range(40):
            memory.refusal(rule(number), room, 0, Purse(name))
            assert sum(memory.remembered().values()) <= 15
            assert memory.remembered()[name] <= 10
    again = Purse(B)
    memory.refusal(rule(0), room, 0, again)
    assert not again.spent


def test_a_rule_that_was_not_parsed_lately_costs_more() -> None:
    """As it takes longer; and only what it costs depends on that."""
    text = rule(4711).rule
    rules._parsed_rules.pop(text, None)
    before = rules.effort_of(text)
    assert rules.problem_of_rule(text) is None
    assert rules.effort_of(text) * 4 < before


def fleet_of(count: int) -> Fleet:
    """Workers with much room."""
    return Fleet.of(rooms_of(*[(1000, 1_000_000, 1000)] * count))


def test_nobody_waits_with_those_who_are_out_of_steps() -> None:
    """Neither others, nor tasks of the same workspace without policies."""
    queues, fleet, steps = ReadyQueues(), fleet_of(1), RuleBudget(1000)
    for seq in range(50):
        add(queues, seq, A, rule(seq))
    add(queues, 100, A, None)
    add(queues, 101, B, None)
    add(queues, 102, B, RuleBased('worker == "w0"'))
    plan = queues.plan(fleet, START, 9, steps)
    assert sorted(seqs(plan)) == [100, 101, 102]
    assert queues.unfinished == {A}
    assert steps.left(A) <= 0
    assert queues.explain(ready_of(49), fleet, START, steps).code == "evaluating"
    assert steps.left(B) > 0


def ready_of(seq: int) -> ReadyTask:
    """One of the tasks with a rule."""
    key = QueueKey(A, GroupName(f"g{seq}"))
    return ready(seq, key, 0, Resources(), START, policy=rule(seq))


def test_what_was_found_out_is_kept_and_so_everybody_has_a_turn() -> None:
    """However little there is for one plan: the one task that can go does go, behind all others."""
    queues, fleet, steps = ReadyQueues(), fleet_of(3), RuleBudget(1000)
    for seq in range(LANES + 50):
        add(queues, seq, A, rule(seq))
    add(queues, 1000, A, RuleBased('worker == "w2"'))
    for _ in range(5000):
        plan = queues.plan(fleet, START, 9, steps)
        if plan:
            assert [(one.task.seq, one.worker_id) for one in plan] == [(1000, "w2")]
            return
        assert queues.unfinished == {A}
        steps.refill(1000)
    pytest.fail("it never had its turn")


def test_indexes_of_one_workspace_do_not_displace_those_of_another() -> None:
    """Which would have to pay for them again."""
    fleet, first = fleet_of(2), Purse(B)
    selector = where(MatchTag("gpu"))
    fleet.worker_indexes(selector, first)
    assert first.spent
    for number in range(500):
        fleet.worker_indexes(where(MatchTag(str(number))), Purse(A))
    again = Purse(B)
    fleet.worker_indexes(selector, again)
    assert not again.spent


def where(policy: Policy) -> Selector:
    """Workers that a policy takes."""
    return Selector("command", where=policy)


def test_a_question_that_was_broken_off_goes_on_where_it_was() -> None:
    """With a right answer in the end."""
    fleet, selector = fleet_of(40), where(RuleBased('worker != "w7"'))
    steps = RuleBudget(50)
    for _ in range(4):
        with pytest.raises(OutOfSteps):
            fleet.worker_indexes(selector, steps.of(A))
        steps.refill(50)
    while not fleet.is_settled(selector):
        steps.refill(50)
        with contextlib.suppress(OutOfSteps):
            fleet.worker_indexes(selector, steps.of(A))
    free, whole = fleet.worker_indexes(selector, EMPTY)
    assert len(free) == len(whole) == 39
    assert WorkerId("w7") not in free


def test_who_only_asks_whether_others_come_first_pays_for_nobody() -> None:
    """A task is placed at once although another workspace's policies are not evaluated yet."""
    queues, fleet, steps = ReadyQueues(), fleet_of(1), RuleBudget(1000)
    for seq in range(50):
        add(queues, seq, A, rule(seq))
    task = ready(100, QueueKey(B, GroupName("g")), 0, Resources(), START)
    assert queues.try_place(task, fleet, START, steps) is not None
    assert steps.left(A) == 1000


def test_a_worker_that_changes_is_seen_by_policies() -> None:
    """Its tags, its metadata, and whether it takes anything at all."""
    queues, fleet, steps = ReadyQueues(), fleet_of(1), RuleBudget(10_000)
    room: Room = fleet.rooms[WorkerId("w0")]
    add(queues, 0, A, MatchTag("new"))
    add(queues, 1, A, RuleBased('get(metadata, "a") == "b"'))
    assert queues.plan(fleet, START, 9, steps) == []
    fleet.put(replace(room, tags=frozenset({"new"})))
    assert seqs(queues.plan(fleet, START, 9, steps)) == [0]
    fleet.put(replace(fleet.rooms[WorkerId("w0")], metadata={"a": "b"}, accepting=False))
    assert queues.plan(fleet, START, 9, steps) == []
    fleet.put(replace(fleet.rooms[WorkerId("w0")], accepting=True))
    assert seqs(queues.plan(fleet, START, 9, steps)) == [1]
