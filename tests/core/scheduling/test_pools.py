"""Pools: which one a group belongs to, and what counts for it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.ids import GroupName, WorkerId
from taskyard.core.scheduling import pools as pools_module
from taskyard.core.scheduling.pools import PlacementClass, Pool, Pools

A, B, C = WorkerId("a"), WorkerId("b"), WorkerId("c")


def test_a_group_matches_from_its_start() -> None:
    """Not necessarily to its end; the empty pattern matches all."""
    pools = Pools([Pool("mail", frozenset({A})), Pool("", frozenset({B}))])
    assert pools.placement_class(GroupName("mail-out"), "container").pools == (0, 1)
    assert pools.placement_class(GroupName("no-mail"), "container").pools == (1,)


def test_only_containers_are_concerned() -> None:
    """And nothing at all while there are no pools."""
    pools = Pools([Pool("", frozenset({A}))])
    assert pools.placement_class(GroupName("g"), "command") == PlacementClass("command")
    assert Pools().placement_class(GroupName("g"), "container") == PlacementClass("container")
    assert pools.of(GroupName("g"), "command", A) is None
    assert pools.of(GroupName("g"), "container", C) is None


def test_a_pattern_that_is_none_is_refused() -> None:
    """When pools are made, not when a task comes."""
    with pytest.raises(re.error):
        Pools([Pool("(", frozenset())])


WORKERS = st.sampled_from([A, B, C])
POOLS = st.lists(
    st.builds(Pool, st.sampled_from(["", "g", "h", "g1"]), st.frozensets(WORKERS)), max_size=4
)


@given(POOLS, st.sampled_from(["g", "g1", "h", "x"]), st.frozensets(WORKERS))
def test_an_attempt_counts_for_the_pool_that_placed_it(
    configured: list[Pool], name: str, usable: frozenset[WorkerId]
) -> None:
    """Which is found again after a restart by group and worker alone."""
    pools, group = Pools(configured), GroupName(name)
    chosen = pools.choose(pools.placement_class(group, "container"), usable.__contains__)
    for worker in configured[chosen].workers & usable if chosen is not None else ():
        assert pools.of(group, "container", worker) == chosen


def test_memory_for_groups_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names come by."""
    monkeypatch.setattr(pools_module, "_REMEMBERED", 10)
    pools = Pools([Pool("g", frozenset({A}))])
    for number in range(100):
        assert pools.placement_class(GroupName(f"g{number}"), "container").pools == (0,)
    assert len(pools._matching) <= 10
