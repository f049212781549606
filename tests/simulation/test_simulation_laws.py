"""What holds in every simulation, whatever it is of."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scenarios import WatchedSimulator, result

from taskyard.core.instants import Instant
from taskyard.core.scheduling.candidates import Chosen
from taskyard.simulation.reading import read_scenario
from taskyard.simulation.workload import load_sources

SECONDS = st.sampled_from([0, 0.001, 0.5, 1, 7, 20, 45])
DURATIONS = st.one_of(
    SECONDS,
    st.fixed_dictionaries({"exponential": st.sampled_from([1, 10])}),
    st.fixed_dictionaries({"lognormal": st.sampled_from([1, 10]), "sigma": st.just(1.5)}),
    st.just({"uniform": [1, 30]}),
)
WORKERS = st.fixed_dictionaries(
    {
        "count": st.integers(0, 4),
        "cpu": st.sampled_from([0.5, 2, 4]),
        "memory": st.sampled_from(["512MiB", "4GiB"]),
        "slots": st.integers(1, 5),
    },
    optional={
        "nodes": st.integers(1, 2),
        "tags": st.sampled_from([["gpu"], ["a", "b"]]),
        "joins": SECONDS,
        "over": SECONDS,
        "lifetime": st.sampled_from([5, 30, {"exponential": 20}]),
        "drain": st.sampled_from([0, 1, 3]),
        "fails": st.sampled_from([2, 20, 60]),
        "back_after": st.sampled_from([1, 5, 15]),
    },
)
PLACEMENTS = st.sampled_from(
    [
        {"type": "match_tag", "tag": "gpu"},
        {"type": "one_per_host"},
        {"type": "max_per_host", "max": 2},
        {"type": "rule", "rule": '"a" in tags'},
        {"type": "no_tag"},
    ]
)
LOADS = st.fixed_dictionaries(
    {
        "arrivals": st.one_of(
            st.fixed_dictionaries({"every": st.sampled_from([2, 9]), "burst": st.integers(1, 6)}),
            st.fixed_dictionaries({"rate": st.sampled_from([0.2, 2])}),
        ),
        "duration": DURATIONS,
        "workspace": st.sampled_from(["a", "b", "c"]),
        "group": st.sampled_from(["x", "y"]),
    },
    optional={
        "priority": st.integers(-2, 2),
        "cpu": st.sampled_from([0.25, 1, 3]),
        "memory": st.sampled_from(["64MiB", "1GiB", "8GiB"]),
        "slots": st.integers(0, 3),
        "failures": st.sampled_from([0.2, 1]),
        "timeout": st.sampled_from([1, 5]),
        "expires": st.sampled_from([1, 10]),
        "retry": st.fixed_dictionaries({"max_attempts": st.integers(1, 3)}),
        "rerun_if_lost": st.booleans(),
        "placement": PLACEMENTS,
        "count": st.integers(1, 30),
    },
)
LIMIT = st.integers(1, 4)
WORKSPACES = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.fixed_dictionaries(
        {},
        optional={
            "limit": LIMIT,
            "groups": st.just({"x": {"limit": 2}, "y": {"paused": True}}),
        },
    ),
)
SCENARIOS = st.fixed_dictionaries(
    {
        "duration": st.just(40),
        "until": st.just(200),
        "seed": st.integers(0, 1000),
        "workers": st.dictionaries(st.sampled_from(["m", "n"]), WORKERS, min_size=1),
        "workspaces": WORKSPACES,
        "loads": st.dictionaries(st.sampled_from(["p", "q", "r"]), LOADS, min_size=1),
    }
)


class Limited(WatchedSimulator):
    """Watches limits too."""

    def _begin(self, chosen: Chosen, begins: Instant, *, was_queued: bool) -> None:
        super()._begin(chosen, begins, was_queued=was_queued)
        tasks = [one.task for _, one in self.running.values()]
        groups = Counter((task.workspace, task.group) for task in tasks)
        workspaces = Counter(task.workspace for task in tasks)
        for name, workspace in self.scenario.workspaces.items():
            assert workspaces[name] <= (workspace.limit or len(tasks))
            for group, settings_of in workspace.groups.items():
                assert groups[name, group] <= (settings_of.limit or len(tasks))
                assert not (settings_of.paused and groups[name, group])


@settings(max_examples=60, deadline=None)
@given(SCENARIOS)
def test_room_and_limits_hold_and_every_task_is_accounted_for(tables: dict[str, Any]) -> None:
    """Nothing runs twice, no worker has more than it offers, and what is left says why."""
    scenario = read_scenario(tables)
    simulator = Limited(scenario, load_sources(scenario))
    simulator.run()
    simulator.check_end()


@settings(max_examples=15, deadline=None)
@given(SCENARIOS)
def test_the_same_seed_gives_the_same_result(tables: dict[str, Any]) -> None:
    """To the last digit, also within one process."""
    assert result(tables) == result(tables)


@settings(max_examples=15, deadline=None)
@given(SCENARIOS)
def test_sums_agree(tables: dict[str, Any]) -> None:
    """Groups add up to workspaces, workspaces to all; shares to one."""
    found = result(tables)
    assert sum(one.arrived for one in found.groups) == found.tasks.arrived
    assert sum(one.attempts for one in found.groups) == found.attempts == found.decisions
    assert sum(one.waits.count for one in found.workspaces) == found.waits.count
    assert sum(one.count for one in found.still_waiting) == found.tasks.queued
    shares = sum(one.share for one in found.workspaces)
    assert shares == 0 or abs(shares - 1) < 1e-5
    used = found.utilisation_overall
    assert all(share is None or 0 <= share <= 1 for share in (used.slots, used.cpu, used.memory))
    assert found.complete == (found.tasks.queued + found.tasks.running + found.tasks.retrying == 0)
