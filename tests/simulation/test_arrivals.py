"""When tasks come, and how long they take."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.instants import SECOND, from_datetime
from taskyard.simulation.arrivals import arrivals
from taskyard.simulation.draws import distribution, key_of, uniform
from taskyard.simulation.reading import read_scenario

START = datetime(2026, 1, 5, tzinfo=UTC)


def seconds_of(duration: Any = "1h", **load: Any) -> list[float]:
    """Seconds from the beginning at which a load's tasks come."""
    tables = {"duration": duration, "workers": {"w": {}}, "loads": {"l": {"duration": 0, **load}}}
    scenario = read_scenario(tables)
    found = arrivals(scenario.loads["l"], key_of(1, "l"), START, scenario.duration)
    return [(at - from_datetime(START)) / SECOND for at in found]


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ({"arrivals": {"every": "20m"}}, [0, 1200, 2400]),
        ({"arrivals": {"every": "20m"}, "begin": "10m", "end": "31m"}, [600, 1800]),
        ({"arrivals": {"every": "30m", "burst": 2}}, [0, 0, 1800, 1800]),
        ({"arrivals": {"every": "30m", "burst": 2, "over": "10m"}}, [0, 300, 1800, 2100]),
        ({"arrivals": {"every": "1s"}, "count": 3}, [0, 1, 2]),
        ({"arrivals": {"cron": "*/25 * * * *"}}, [0, 1500, 3000]),
        ({"arrivals": {"cron": "30 0 * * *", "burst": 2}}, [1800, 1800]),
    ],
)
def test_when_tasks_come(load: Mapping[str, Any], expected: list[float]) -> None:
    """To the microsecond."""
    assert seconds_of(**load) == expected


def test_times_of_day_are_those_of_the_zone() -> None:
    """Half past one in Berlin is half past midnight."""
    assert seconds_of(arrivals={"cron": "30 1 * * *", "timezone": "Europe/Berlin"}) == [1800]


def test_a_rate_is_a_mean() -> None:
    """Ten a second for an hour are 36,000, give or take; gaps are as uneven as Poisson's."""
    found = seconds_of(arrivals={"rate": 10})
    assert len(found) == pytest.approx(36_000, rel=0.02)
    gaps = [b - a for a, b in pairwise(found)]
    assert median(gaps) == pytest.approx(0.0693, rel=0.05)
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("value", "middle", "average"),
    [
        ("10s", 10, 10),
        ({"exponential": "10s"}, 6.93, 10),
        ({"uniform": ["5s", "15s"]}, 10, 10),
        ({"lognormal": "10s", "sigma": 0.5}, 10, 11.33),
    ],
)
def test_distributions_are_what_they_are_called(value: Any, middle: float, average: float) -> None:
    """By their median and mean, over many draws."""
    found = distribution(value)
    draws = [found.at(uniform(key_of(1), number, 1, 1)) for number in range(20_000)]
    assert median(draws) == pytest.approx(middle, rel=0.03)
    assert mean(draws) == pytest.approx(average, rel=0.03)


@given(*[st.integers(0, 1 << 40)] * 4)
def test_chance_stays_inside(key: int, index: int, number: int, purpose: int) -> None:
    """Never 0 or 1, where logarithms end; always the same for the same question."""
    chance = uniform(key, index, number, purpose)
    assert 0 < chance < 1
    assert chance == uniform(key, index, number, purpose)


def test_seeds_and_names_draw_other_numbers() -> None:
    """And not by coincidence: they are hashed."""
    keys = {
        key_of(seed, *names) for seed in range(3) for names in (("a", "b"), ("ab",), ("b", "a"))
    }
    assert len(keys) == 9
