"""How many workers are wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.resources import Resources
from taskyard.core.scheduling.policies import (
    AnyHost,
    Combiner,
    Composite,
    MatchTag,
    OnePerHost,
    Policy,
)
from taskyard.core.scheduling.requirements import Requirements
from taskyard.core.scheduling.scaling import Sample, TagDemand, demand_by_tag, tag_of

PLAIN = Requirements()
GPU = Requirements(policy=MatchTag("gpu"))
NONE = Sample([], 0)


def _all(*asked: Requirements) -> Sample:
    return Sample(asked, len(asked))


def test_nothing_wants_nothing() -> None:
    """Whatever the limits: an autoscaler goes down to none."""
    assert demand_by_tag(NONE, NONE, None, 1) == []
    assert demand_by_tag(NONE, NONE, 0, 8) == []


def test_what_waits_and_what_runs_fill_workers() -> None:
    """Each tag its own."""
    found = demand_by_tag(_all(GPU, PLAIN, PLAIN, GPU), _all(PLAIN), None, 2)
    assert found == [TagDemand(None, 2, 1, 2), TagDemand("gpu", 2, 0, 1)]


def test_what_may_not_start_wants_no_worker() -> None:
    """Those in front may."""
    waiting = _all(GPU, PLAIN, PLAIN)
    assert demand_by_tag(waiting, NONE, 0, 1) == [
        TagDemand(None, 2, 0, 0),
        TagDemand("gpu", 1, 0, 0),
    ]
    assert [one.wanted for one in demand_by_tag(waiting, NONE, 2, 1)] == [1, 1]


def test_large_and_weightless_tasks() -> None:
    """Slots count; what takes none needs one worker, however many of it there are."""
    large, free = Requirements(Resources(slots=3)), Requirements(Resources(slots=0))
    assert demand_by_tag(_all(large), NONE, None, 2)[0].wanted == 2
    assert demand_by_tag(_all(free, free), NONE, None, 1)[0].wanted == 1


def test_those_that_were_not_seen_count_as_the_others() -> None:
    """Of 1,000 tasks 10 were looked at."""
    found = demand_by_tag(Sample([GPU, *[PLAIN] * 9], 1000), NONE, None, 10)
    assert found == [TagDemand(None, 900, 0, 90), TagDemand("gpu", 100, 0, 10)]


@pytest.mark.parametrize(
    ("policy", "tag"),
    [
        (None, None),
        (MatchTag("gpu"), "gpu"),
        (Composite((OnePerHost(), MatchTag("gpu"))), "gpu"),
        (Composite((AnyHost(), MatchTag("gpu")), Combiner.OR), None),
    ],
)
def test_tags_that_have_to_be_there(policy: Policy | None, tag: str | None) -> None:
    """One of several alternatives need not be."""
    assert tag_of(policy) == tag


@given(
    st.lists(st.sampled_from([PLAIN, GPU]), max_size=20),
    st.lists(st.sampled_from([PLAIN, GPU]), max_size=20),
    st.none() | st.integers(0, 30),
    st.integers(1, 8),
)
def test_enough_and_not_too_many(
    waiting: list[Requirements],
    running: list[Requirements],
    startable: int | None,
    slots: int,
) -> None:
    """All that may run fits on the wanted workers, and not on fewer by more than one a tag."""
    found = demand_by_tag(_all(*waiting), _all(*running), startable, slots)
    may_run = len(waiting[:startable]) + len(running)
    wanted = sum(one.wanted for one in found)
    assert wanted * slots >= may_run > (wanted - max(1, len(found))) * slots - (wanted == 0)
    assert sum(one.waiting for one in found) == len(waiting)
    assert sum(one.running for one in found) == len(running)
