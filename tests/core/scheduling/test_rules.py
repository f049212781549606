"""The functions of rules, their arithmetic, and rules about all workers."""

import msgspec
import pytest
from naive_scheduler import START, ready, rooms_of

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.resources import Resources
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet, MetadataOfAll, Selector
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import (
    Combiner,
    Composite,
    MatchTag,
    NoTag,
    RuleBased,
    looks_around,
    refusal,
)
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.rules import LENGTH_LIMIT, asks_for_all, holds, problem_of_rule

KEY = QueueKey(WorkspaceName("a"), GroupName("g"))


def rooms(*metadata: dict[str, str]) -> list[Room]:
    """Workers w0, w1 … with this metadata."""
    plain = rooms_of(*[(9, 9000, 9)] * len(metadata))
    return [
        msgspec.structs.replace(room, metadata=one)
        for room, one in zip(plain, metadata, strict=True)
    ]


def fleet_of(*metadata: dict[str, str]) -> Fleet:
    """The same, as a fleet."""
    return Fleet.of(rooms(*metadata))


@pytest.mark.parametrize(
    "rule",
    [
        'get(metadata, "zone") == "Z-1"',
        'get(metadata, "none") == None',
        'get(metadata, "none", "d") == "d"',
        'number(metadata["cores"]) * 2 - 1 > 14',
        'number(metadata["load"]) / 2 == 0.75',
        "7 % 4 == 3 and -(2) == -2",
        'number(metadata["zone"]) == "Z-1"',
        'lower(metadata["zone"]) == "z-1"',
        'upper("ab") + trim(" c ") == "ABc"',
        'starts(metadata["zone"], "Z") and ends(metadata["zone"], "1")',
        'part("abcd", 1, 3) == "bc" and part("abcd", 2) == "cd"',
        'size(metadata) == 3 and size("ab") == 2 and size([1, 2]) == 2',
        "abs(-2) == 2 and floor(2.5) == 2 and ceil(2.5) == 3",
        'worker in workers and "w9" not in workers',
        'workers["w0"]["zone"] == metadata["zone"]',
    ],
)
def test_rules_compute(rule: str) -> None:
    """With functions of their own, and with numbers."""
    (room,) = found = rooms({"zone": "Z-1", "cores": "8", "load": "1.5"})
    assert problem_of_rule(rule) is None
    assert holds(rule, room, MetadataOfAll({one.worker_id: one for one in found})), rule


@pytest.mark.parametrize(
    "rule",
    [
        "lower(1) == 1",
        'part("abc", 2, 9) == ""',
        'part("abc", -1) == "c"',
        'part("abc", 0.5) == "abc"',
        'get(1, "a") == None',
        'size(1) == 1 or size(metadata["none"]) == 0',
        '"a" * 3 == "aaa"',
        '"%9d" % 1 == "        1"',
        '"a" + 1 == "a1"',
        "1 / 0 == 1 or True",
        "abs(1, 2) == 1",
        "floor(1e400) == 1",
        'workers["none"] == 1',
    ],
)
def test_what_cannot_be_computed_is_false(rule: str) -> None:
    """And nothing is repeated, formatted, or cut beyond its end."""
    assert problem_of_rule(rule) is None
    assert not holds(rule, rooms({})[0])


@pytest.mark.parametrize(
    "rule",
    [
        "eval('1')",
        "size",
        "metadata()",
        "get(metadata)()",
        "size(*tags)",
        "size(text='a')",
        "metadata.get('a')",
        "2 ** 9",
        "1 << 9",
        "1 // 1",
        "~1",
        "+".join(["1"] * (LENGTH_LIMIT // 2)),
    ],
)
def test_nothing_else_can_be_called_or_computed(rule: str) -> None:
    """Neither functions of Python, nor methods, nor what grows fast."""
    assert problem_of_rule(rule) is not None
    assert not holds(rule, rooms({})[0])


def test_rules_about_all_workers_are_known_as_such() -> None:
    """Wherever in a policy they stand; a text is not taken for the name."""
    wide = RuleBased('size(workers) > 1 and metadata["a"] == "b"')
    assert looks_around(wide)
    assert looks_around(Composite((NoTag(), Composite((wide,), Combiner.OR))))
    assert not looks_around(RuleBased('metadata["workers"] == "workers"'))
    assert not looks_around(Composite((MatchTag("workers"), NoTag())))
    assert not asks_for_all("workers(")


def test_a_rule_about_all_workers_follows_who_is_here() -> None:
    """As workers come, change and go; also for a task that waits meanwhile."""
    first, second = rooms({"zone": "a"}, {"zone": "b"})
    queues, fleet = ReadyQueues(), Fleet.of([first])
    rule = RuleBased('size(workers) == 2 and workers["w1"]["zone"] == "c" and worker == "w0"')
    queues.add(ready(1, KEY, 0, Resources(), START, policy=rule))
    assert queues.plan(fleet, START, 9) == []
    fleet.put(second)
    assert queues.plan(fleet, START, 9) == []
    fleet.put(msgspec.structs.replace(second, metadata={"zone": "c"}))
    assert [one.worker_id for one in queues.plan(fleet, START, 9)] == ["w0"]
    queues.add(ready(2, KEY, 0, Resources(), START, policy=rule))
    fleet.remove(WorkerId("w1"))
    assert queues.plan(fleet, START, 9) == []
    waiting = ready(3, KEY, 0, Resources(), START, policy=rule)
    queues.add(waiting)
    assert "does not satisfy the rule" in queues.explain(waiting, fleet, START).summary


def test_only_indexes_of_such_rules_are_made_again() -> None:
    """A worker that comes costs the others nothing."""
    fleet = fleet_of({"zone": "a"}, {"zone": "b"})
    wide = Selector("command", where=RuleBased("size(workers) > 1"))
    narrow = Selector("command", where=RuleBased('metadata["zone"] == "a"'))
    before = fleet.worker_indexes(wide)[0], fleet.worker_indexes(narrow)[0]
    fleet.put(msgspec.structs.replace(rooms({})[0], worker_id=WorkerId("w9")))
    assert fleet.worker_indexes(wide)[0] is not before[0]
    assert fleet.worker_indexes(narrow)[0] is before[1]
    present = fleet.rooms[WorkerId("w9")]
    again = fleet.worker_indexes(wide)[0]
    fleet.put(msgspec.structs.replace(present, accepting=False))
    assert fleet.worker_indexes(wide)[0] is again


def test_a_policy_by_itself_sees_the_workers_it_is_told_of() -> None:
    """None, unless they are."""
    room, other = rooms({}, {})
    policy = RuleBased('"w1" in workers')
    assert refusal(policy, room, 0) == "does not satisfy the rule"
    everybody = MetadataOfAll({one.worker_id: one for one in (room, other)})
    assert refusal(policy, room, 0, everybody) is None
    assert sorted(everybody) == ["w0", "w1"]
    assert len(everybody) == 2
