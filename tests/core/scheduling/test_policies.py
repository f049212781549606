"""Placement policies: which worker will do, and what is said of one that will not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_scheduler import START, ready, rooms_of

from taskyard.core.ids import GroupName, WorkerId, WorkspaceName
from taskyard.core.resources import Capacity, Resources
from taskyard.core.scheduling import rules
from taskyard.core.scheduling.fairness import ReadyQueues
from taskyard.core.scheduling.fleet import Fleet
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import (
    AnyHost,
    Combiner,
    Composite,
    MatchTag,
    MaxPerHost,
    NoTag,
    OnePerHost,
    Policy,
    RuleBased,
    problem_of,
    refusal,
    reserving,
    static_part,
)
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.scheduling.rules import LENGTH_LIMIT, holds, problem_of_rule

KEY = QueueKey(WorkspaceName("a"), GroupName("g"))


def worker(*tags: str, **metadata: str) -> Room:
    """A worker with these tags, on a host named ``h``."""
    (plain,) = rooms_of((9, 9000, 9))
    return msgspec.structs.replace(plain, hostname="h", tags=frozenset(tags), metadata=metadata)


@pytest.mark.parametrize(
    ("policy", "count", "said"),
    [
        (AnyHost(), 9, None),
        (OnePerHost(), 0, None),
        (OnePerHost(), 1, "runs one of the group already"),
        (MaxPerHost(2), 1, None),
        (MaxPerHost(2), 2, "runs 2 of the group, and 2 may"),
        (MatchTag("gpu"), 0, None),
        (MatchTag("h"), 0, None),
        (MatchTag("ssd"), 0, "has no tag 'ssd'"),
        (NoTag(), 0, "is reserved by its tag 'gpu'"),
        (RuleBased('metadata["zone"] == "z"'), 0, None),
        (RuleBased('metadata["zone"] == "y"'), 0, "does not satisfy the rule"),
        (RuleBased('metadata["none"]'), 0, "does not satisfy the rule"),
        (Composite((MatchTag("gpu"), OnePerHost())), 1, "runs one of the group already"),
        (Composite((MatchTag("x"), OnePerHost()), Combiner.OR), 0, None),
        (
            Composite((MatchTag("x"), OnePerHost()), Combiner.OR),
            1,
            "has no tag 'x' and runs one of the group already",
        ),
    ],
)
def test_each_policy_has_a_text_of_its_own(policy: Policy, count: int, said: str | None) -> None:
    """None if the worker will do."""
    assert refusal(policy, worker("gpu", zone="z"), count) == said


def test_the_host_name_is_a_tag_that_reserves_nothing() -> None:
    """Its own worker has it, and is free for all nevertheless."""
    assert refusal(NoTag(), worker("h"), 0) is None
    assert refusal(NoTag(), worker(), 0) is None


POLICIES = st.recursive(
    st.sampled_from(
        [
            AnyHost(),
            OnePerHost(),
            MaxPerHost(2),
            MatchTag("gpu"),
            MatchTag("h"),
            NoTag(),
            RuleBased('"gpu" in tags'),
        ]
    ),
    lambda inner: st.builds(
        Composite,
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.sampled_from(Combiner),
    ),
    max_leaves=6,
)


@given(POLICIES, st.frozensets(st.sampled_from(["gpu", "ssd"])), st.integers(0, 3))
def test_the_static_part_never_refuses_what_the_whole_takes(
    policy: Policy, tags: frozenset[str], count: int
) -> None:
    """And says the same for every number of attempts."""
    place, part = worker(*tags), static_part(policy)
    if part is None:
        return
    assert refusal(part, place, count) == refusal(part, place, 0)
    if refusal(policy, place, count) is None:
        assert refusal(part, place, 0) is None


@given(POLICIES, st.integers(0, 3))
def test_tagged_workers_are_for_those_who_choose_them(policy: Policy, count: int) -> None:
    """A policy without tag or rule never leads to one."""
    text = str(policy)
    if "MatchTag" not in text and "RuleBased" not in text:
        assert refusal(reserving(policy), worker("ssd"), count) is not None
    else:
        assert reserving(policy) == policy


@given(POLICIES)
def test_policies_travel_as_json(policy: Policy) -> None:
    """With the demand of a task, as they are stored."""
    requirements = Requirements(policy=policy)
    assert msgspec.json.decode(msgspec.json.encode(requirements), type=Requirements) == requirements
    assert problem_of(policy) is None


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (MaxPerHost(0), "from 1 to 64"),
        (MaxPerHost(65), "from 1 to 64"),
        (MatchTag(""), "tag needs"),
        (RuleBased(""), "a rule needs"),
        (RuleBased("("), "cannot be read"),
        (Composite(()), "1 to 64 policies"),
        (Composite((AnyHost(), Composite((MaxPerHost(0),)))), "from 1 to 64"),
    ],
)
def test_policies_that_are_wrong_are_named(policy: Policy, said: str) -> None:
    """However deep inside."""
    assert said in (problem_of(policy) or "")


def rule_of(count: int, number: int = 0) -> RuleBased:
    """A rule with so many comparisons, of five parts each and one for all of them."""
    return RuleBased(" and ".join([f"size('')=={number}"] * count))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Composite(tuple(rule_of(80, n) for n in range(9))), "8000 characters"),
        (Composite(tuple(rule_of(50, n) for n in range(8))), "2000 parts together"),
        (Composite((Composite((AnyHost(),) * 64),) * 32), "2000 parts"),
    ],
)
def test_the_size_of_a_policy_is_bounded_as_a_whole(policy: Policy, said: str) -> None:
    """Not only that of its parts; rules that are too long are not parsed to find that out."""
    assert said in (problem_of(policy) or "")


def test_what_is_too_long_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by its characters alone."""
    parsed: list[str] = []
    monkeypatch.setattr(rules, "_parse", parsed.append)
    assert problem_of(Composite(tuple(rule_of(90, n + 100) for n in range(60)))) is not None
    assert parsed == []


def test_nesting_is_bounded() -> None:
    """Nobody needs more, and a stack has an end."""
    policy: Policy = AnyHost()
    for _ in range(7):
        policy = Composite((policy,))
    assert problem_of(policy) is None
    assert "deeper" in (problem_of(Composite((policy,))) or "")


@pytest.mark.parametrize(
    "rule",
    [
        "tags.__class__",
        "().__class__.__bases__",
        "open('x')",
        "(lambda: 1)()",
        "[one for one in tags]",
        "9 ** 9 ** 9",
        "'a' * 10 ** 9",
        "f'{tags}'",
        "import os",
        "x := 1",
        "secret",
        "not " * 300 + "tags",
        "(" * 250 + "tags" + ")" * 250,
        "a" * (LENGTH_LIMIT + 1),
        "\0",
    ],
)
def test_rules_cannot_reach_out_or_run_for_long(rule: str) -> None:
    """They are refused, and are false where they were not."""
    assert problem_of_rule(rule) is not None
    assert not holds(rule, worker("gpu"))


def test_rules_see_what_a_worker_is() -> None:
    """Name, host, tags, metadata; compared, combined, and with a choice."""
    place = worker("gpu", zone="z", rack="7")
    for rule in (
        'worker == "w0" and hostname == "h"',
        '"gpu" in tags and "ssd" not in tags',
        'metadata["rack"] in ("6", "7")',
        'not (metadata["zone"] != "z")',
        '"gpu" in tags if hostname == "h" else worker == "x"',
    ):
        assert problem_of_rule(rule) is None
        assert holds(rule, place), rule


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_is_not(rule: str) -> None:
    """And nothing is raised, whatever it is."""
    if problem_of_rule(rule) is not None:
        assert not holds(rule, worker())


def test_why_names_what_the_policy_refuses() -> None:
    """Each reason once, with a worker or how many."""
    rooms = [
        msgspec.structs.replace(
            room, hostname=f"h{number}", tags=frozenset({"x"} if number else ())
        )
        for number, room in enumerate(rooms_of(*[(9, 9000, 9)] * 3))
    ]
    queues = ReadyQueues()
    nowhere = ready(1, KEY, 0, Resources(), START, policy=MatchTag("gpu"))
    queues.add(nowhere)
    told = queues.explain(nowhere, Fleet.of(rooms), START)
    assert told.code == "placement"
    assert told.summary == (
        "no worker satisfies its placement policy: w0 and 2 more: has no tag 'gpu'"
    )
    fleet = Fleet.of(rooms, [(WorkerId("w0"), KEY)])
    full = ready(2, KEY, 0, Resources(), START, policy=reserving(OnePerHost()))
    told = queues.explain(full, fleet, START)
    assert told.code == "placement"
    assert "w0 runs one of the group already" in told.summary
    assert queues.plan(fleet, START, 10) == []


def test_why_names_the_cores_that_are_missing() -> None:
    """And whether they could ever be there."""
    (room,) = rooms_of((9, 3000, 9))
    task = ready(1, KEY, 0, Resources(cores=3), START)
    told = ReadyQueues().explain(task, Fleet.of([room]), START)
    assert told.summary == (
        "needs 3 whole cores of one node, largest gap 2 cores on worker w0; "
        "no node has more than 2 in all"
    )
    assert room.total == Capacity(9, 3000, 9 << 30)
