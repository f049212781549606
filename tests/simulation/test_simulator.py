"""Simulations small enough to be worked out by hand."""

from collections.abc import Mapping
from typing import Any

import pytest
from scenarios import ONE_WORKER, result, simulator_of

from taskyard.core.instants import SECOND
from taskyard.simulation.errors import TooLarge
from taskyard.simulation.reading import read_scenario
from taskyard.simulation.scenario import Limits
from taskyard.simulation.simulator import Simulator
from taskyard.simulation.workload import load_sources

NO_TIME = {"commit": 0, "decision": 0}


def tables(loads: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """A scenario whose scheduler takes no time."""
    return {
        "duration": "1h",
        "scheduling": NO_TIME,
        "workers": ONE_WORKER,
        "loads": loads,
        **others,
    }


def burst(count: int, took: Any = "10s", **others: Any) -> dict[str, Any]:
    """So many tasks at the beginning, and nothing later."""
    arrivals = {"every": "1h", "burst": count}
    return {"arrivals": arrivals, "duration": took, **others}


def test_one_after_the_other() -> None:
    """Three tasks of ten seconds on one slot wait 0, 10 and 20 seconds."""
    found = result(tables({"l": burst(3)}))
    waits = found.waits
    assert (waits.count, waits.mean_s, waits.p50_s, waits.max_s) == (3, 10, 10, 20)
    assert found.simulated_s == 30
    assert found.complete
    assert (found.decided_at_once, found.decisions) == (1, 3)
    assert found.utilisation_overall.slots == 1
    assert found.utilisation.slots == 1  # All of it was while tasks came, in the first hour.


def test_commits_and_decisions_take_their_time() -> None:
    """A task that finds room waits for its commit alone."""
    scheduling = {"commit": "5ms", "decision": "1ms"}
    found = result(tables({"l": burst(1)}, scheduling=scheduling))
    assert found.waits.max_s == 0.006


def test_more_workers_wait_less() -> None:
    """The same work on three slots waits for nothing."""
    workers = {"w": {"cpu": 1, "slots": 1, "count": 3}}
    found = result(tables({"l": burst(3)}, workers=workers))
    assert found.waits.max_s == 0
    assert found.simulated_s == 10


def test_higher_priorities_go_first() -> None:
    """Within a workspace; what runs is left alone."""
    loads = {
        "low": burst(2, group="low"),
        "high": burst(1, group="high", priority=5, begin="1s"),
    }
    found = {str(one.group): one.waits for one in result(tables(loads)).groups}
    assert found["high"].max_s == 9
    assert found["low"].max_s == 20


def test_workspaces_have_equal_shares() -> None:
    """However much one of them asks for: two slots of four each."""
    loads = {
        "greedy": burst(200, workspace="greedy"),
        "modest": burst(20, workspace="modest"),
    }
    workers = {"w": {"cpu": 4, "slots": 4}}
    found = result(tables(loads, workers=workers, until="1h"))
    by_name = {str(one.workspace): one for one in found.workspaces}
    assert by_name["modest"].mean_running_contended == 2
    assert by_name["modest"].waits.max_s == 90


def test_a_limit_makes_its_group_wait() -> None:
    """And what is left at the end is explained by it."""
    loads = {"l": burst(3)}
    workers = {"w": {"cpu": 8, "slots": 8}}
    limits = {"default": {"groups": {"default": {"limit": 1}}}}
    found = result(tables(loads, workers=workers, workspaces=limits, duration="15s", until="15s"))
    (waiting,) = found.still_waiting
    assert (waiting.count, waiting.code) == (1, "group_limit")
    assert not found.complete
    assert found.tasks.running == 1
    assert found.tasks.succeeded == 1


def test_what_fits_nowhere_is_explained() -> None:
    """The simulation ends though its task never does."""
    found = result(tables({"l": burst(1, memory="2GiB")}))
    (waiting,) = found.still_waiting
    assert waiting.code == "no_room"
    assert "no worker has more than 1.0 GiB" in waiting.why


def test_tags_and_whole_cores() -> None:
    """The scheduler's rules of placement hold here too."""
    workers = {
        "plain": {"cpu": 8, "slots": 8},
        "tagged": {"cpu": 8, "slots": 8, "nodes": 2, "tags": ["gpu"]},
    }
    placement = {"type": "match_tag", "tag": "gpu"}
    found = result(tables({"l": burst(4, cores=3, placement=placement)}, workers=workers))
    # Two nodes of four cores: one attempt of three cores on each.
    assert (found.waits.p50_s, found.waits.max_s) == (0, 10)


def test_a_dead_worker_is_missed_after_its_lease() -> None:
    """What it ran begins again elsewhere ten seconds later, and is counted as lost."""
    simulator = simulator_of(
        tables(
            {"l": burst(1, "1h", retry={"max_attempts": 1})},
            workers={"w": {"count": 2, "cpu": 1, "slots": 1, "fails": "20m"}},
            until="3h",
            seed=3,
        )
    )
    deaths = simulator.measures.deaths
    assert deaths == 2
    (queue,) = simulator.measures.queues.values()
    assert queue.attempts == 2
    assert queue.lost == 2
    assert queue.waiting == 1  # The second worker died too, and nobody came back.
    ((_, wait),) = simulator.waiting.values()
    assert wait.code == "no_worker"


def test_a_worker_that_comes_back_gives_up_its_life_before() -> None:
    """Sooner than its lease runs out: what it ran begins again as it joins."""
    simulator = simulator_of(
        tables(
            {"l": burst(1, "10m")},
            workers={"w": {"cpu": 1, "slots": 1, "fails": "5m", "back_after": "3s"}},
            until="20h",
        )
    )
    (queue,) = simulator.measures.queues.values()
    assert queue.lost == simulator.measures.deaths > 0
    assert max(queue.waits) == 0  # Ready and placed in the moment of its joining.


def test_a_lifetime_is_drained_first() -> None:
    """Nothing begins in the last minutes of a worker; the next life takes it."""
    workers = {"w": {"cpu": 1, "slots": 1, "lifetime": "10m", "drain": "5m", "back_after": "1m"}}
    loads = {"l": {"arrivals": {"every": "6m"}, "duration": "1m", "count": 2}}
    found = result(tables(loads, workers=workers))
    assert found.attempts_lost == 0
    # The second task comes after six minutes, and waits for the worker that joins after eleven.
    assert found.waits.max_s == 300


def test_what_runs_as_its_worker_leaves_begins_again() -> None:
    """It was lost, which the scheduler hears at once."""
    workers = {"w": {"cpu": 1, "slots": 1, "lifetime": "10m", "back_after": "10s"}}
    loads = {"l": {"arrivals": {"every": "9m"}, "duration": "2m", "count": 2}}
    found = result(tables(loads, workers=workers))
    assert found.attempts_lost == 1
    assert found.waits.max_s == 10
    assert found.tasks.succeeded == 2


def test_failures_are_retried_by_policy() -> None:
    """Three attempts in all, with back-offs of one and two seconds, and the task is dead."""
    retry = {"max_attempts": 3, "jitter": 0}
    found = result(tables({"l": burst(1, failures=1, retry=retry)}))
    assert found.tasks.dead == 1
    assert found.attempts == 3
    assert found.simulated_s == 33


def test_a_timeout_fails() -> None:
    """What takes too long ends at its limit."""
    found = result(tables({"l": burst(1, "1h", timeout="5s")}))
    assert found.tasks.failed == 1
    assert found.simulated_s == 5


def test_what_could_not_begin_in_time_expires() -> None:
    """The third of three waits too long."""
    found = result(tables({"l": burst(3, expires="15s")}))
    assert (found.tasks.succeeded, found.tasks.expired) == (2, 1)
    assert found.complete


def test_more_tasks_than_are_held_in_memory_go_in_order() -> None:
    """The window onto the backlog is refilled from what waits behind it."""
    simulator = simulator_of(tables({"l": burst(1000, "1s")}))
    (queue,) = simulator.measures.queues.values()
    assert list(queue.waits) == [number * SECOND for number in range(1000)]


def test_too_many_tasks_are_refused_while_they_come() -> None:
    """A rate that makes more than allowed is told, with what to do."""
    scenario = read_scenario(tables({"l": {"arrivals": {"rate": 100}, "duration": 0}}))
    simulator = Simulator(scenario, load_sources(scenario), Limits(tasks=50))
    with pytest.raises(TooLarge, match=r"more than 50 tasks; lower a rate.*--max-tasks"):
        simulator.run()


def test_events_without_end_are_given_up() -> None:
    """Workers that die each second for years, while a task waits for what never comes."""
    workers = {"w": {"count": 10, "fails": "1s", "back_after": "1s"}}
    scenario = read_scenario(tables({"l": burst(1, memory="1TiB")}, workers=workers, until="1000d"))
    simulator = Simulator(scenario, load_sources(scenario), Limits(tasks=10, workers=10))
    with pytest.raises(TooLarge, match="given up"):
        simulator.run()


def test_whoever_watches_is_told() -> None:
    """How far it is, now and then."""
    seen: list[tuple[float, int, int]] = []
    scenario = read_scenario(tables({"l": burst(5000, "1s")}))

    def watch(passed_s: float, arrived: int, ended: int) -> None:
        seen.append((passed_s, arrived, ended))

    Simulator(scenario, load_sources(scenario), watch=watch).run()
    assert len(seen) >= 2
    assert seen == sorted(seen)
