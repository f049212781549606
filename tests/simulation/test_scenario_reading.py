"""Scenarios as files: what is accepted, and how what is wrong is told."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard.simulation.changes import changed, parse_change
from taskyard.simulation.errors import SimulationError, TooLarge, WrongScenario
from taskyard.simulation.quantities import seconds, size
from taskyard.simulation.reading import read_scenario, read_variants
from taskyard.simulation.running import runs_of
from taskyard.simulation.scenario import Limits
from taskyard.simulation.scenario_text import ScenarioText

GOOD = """\
duration = "2h"
seed = 7

[workers.small]
count = 4
cpu = 8

[workers."rack 1"]
metadata = { zone = "a" }

[workspaces.acme.groups.render]
limit = 20

[loads.render]
workspace = "acme"
group = "render"
arrivals = { every = "10m", burst = 60 }
duration = { lognormal = "2m", sigma = 0.8 }

[variants."two more"]
"workers.small.count" = 6
"""


def told(text: str, *, is_json: bool = False) -> tuple[str, int | None]:
    """What is wrong with a file, and in which line."""
    with pytest.raises(WrongScenario) as caught:
        runs_of(ScenarioText(text, is_json=is_json).tables)
    error = caught.value
    line = error.line
    if line is None and error.path:
        line = ScenarioText(text, is_json=is_json).line_of(error.path)
    return str(error), line


def test_a_good_file() -> None:
    """Every member is where it belongs."""
    base, other = runs_of(ScenarioText(GOOD, is_json=False).tables)
    scenario = base.scenario
    assert float(scenario.duration) == 7200
    assert float(scenario.until) == 72_000 + 86_400
    assert scenario.workers["small"].count == 4
    assert scenario.workers["small"].slot_count == 128
    assert scenario.worker_count == 5
    assert other.name == "two more"
    assert other.changes == {"workers.small.count": 6}
    assert other.scenario.workers["small"].count == 6


def test_the_same_in_json() -> None:
    """One model, two ways to write it."""
    tables = ScenarioText(GOOD, is_json=False).tables
    text = ScenarioText(json.dumps(tables), is_json=True)
    assert text.tables == tables


@pytest.mark.parametrize(
    ("before", "after", "problem", "line"),
    [
        ('"2h"', '"2 parsecs"', "duration: '2 parsecs' is not a duration, such as 30s", 1),
        ("seed = 7", 'seed = "x"', "seed: Expected `int`, got `str`", 2),
        ("count = 4", "count = -1", "workers.small.count: Expected `int` >= 0", 5),
        ("count = 4", "cuont = 4", "workers.small.cuont: is unknown; there are count, cpu,", 5),
        ('"a"', "1", 'workers."rack 1".metadata: Expected `str`', 9),
        ("limit = 20", "limit = 0", "workspaces.acme.groups.render.limit", 12),
        ("burst = 60", "busrt = 60", "loads.render.arrivals.busrt: is unknown", 17),
        ("sigma = 0.8", "sigma = 80", "loads.render.duration: sigma must be a number from 0", 18),
        ('every = "10m", ', "", "loads.render.arrivals: needs exactly one of every, rate", 17),
        ("lognormal", "normal", "loads.render.duration: needs a duration, {exponential", 18),
        ("cpu = 8", "lifetime = 60\ndrain = 60", "workers.small.drain: must be shorter than", 7),
        ("[workers.small]", "[workers.small", "is not TOML: Expected ']'", 4),
        ('"workers.small.count" = 6', '"workers.small.cuont" = 6', "in the variant 'two more'", 4),
        ("[loads.render]", "[lods.render]", "lods: is unknown; there are duration, until,", 14),
        ('workspace = "acme"', 'workspace = "ACME"', "loads.render.workspace: Expected `str`", 15),
        ('"acme"', '"acme"\ncores = 2\ncpu = 1', "loads.render.cores: goes without cpu", 16),
    ],
)
def test_what_is_wrong_is_told_by_line_and_member(
    before: str, after: str, problem: str, line: int
) -> None:
    """One thing is wrong, and the message says which."""
    assert before in GOOD
    said, where = told(GOOD.replace(before, after, 1))
    assert problem in said
    assert where == line


def test_lines_of_json() -> None:
    """They are told there too."""
    text = json.dumps(ScenarioText(GOOD, is_json=False).tables, indent=1)
    wrong = text.replace('"count": 4', '"count": "four"')
    said, line = told(wrong, is_json=True)
    assert said.startswith("workers.small.count: Expected `int`")
    assert line == 1 + wrong[: wrong.index('"count": "four"')].count("\n")


@pytest.mark.parametrize("text", ["[]", "{", "nul", '{"a": ' * 100_000, "1" * 100_000])
def test_what_is_no_json_is_told(text: str) -> None:
    """Whatever else it is."""
    with pytest.raises(WrongScenario):
        ScenarioText(text, is_json=True)


@pytest.mark.parametrize("missing", ["duration", "workers", "loads"])
def test_what_is_missing_is_told(missing: str) -> None:
    """With what to write."""
    tables = dict(ScenarioText(GOOD, is_json=False).tables)
    del tables[missing], tables["variants"]
    with pytest.raises(WrongScenario, match=f"^{missing}: is missing"):
        runs_of(tables)


def test_absurd_sizes_are_refused() -> None:
    """Before anything is made of them."""
    tables = changed(
        ScenarioText(GOOD, is_json=False).tables, [parse_change("workers.small.count=51000")]
    )
    with pytest.raises(TooLarge, match="51,001 workers are more than 50,000; lower a count"):
        read_scenario(tables)
    assert read_scenario(tables, Limits(workers=60_000)).worker_count == 51_001


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("workers.small.count=120", ("workers", "small", "count"), 120),
        ('workers."rack 1".cpu = 2.5', ("workers", "rack 1", "cpu"), 2.5),
        ("duration=8h", ("duration",), "8h"),
        ("workers.w.tags=['a', \"b\"]", ("workers", "w", "tags"), ["a", "b"]),
        ("workers.small=null", ("workers", "small"), None),
        ("loads.l.arrivals={every = '1s'}", ("loads", "l", "arrivals"), {"every": "1s"}),
        ('loads.l.arrivals={"every": "1s"}', ("loads", "l", "arrivals"), {"every": "1s"}),
    ],
)
def test_changes(text: str, path: tuple[str, ...], value: Any) -> None:
    """Values as in TOML, or in JSON, or else texts."""
    assert parse_change(text) == (path, value)


@pytest.mark.parametrize(
    "text", ["", "workers", "=1", "a..b=1", "a b=1", "a.b\nc=1", "." * 5000 + "=1"]
)
def test_what_is_no_change_is_told(text: str) -> None:
    """With an example."""
    with pytest.raises(WrongScenario, match=r"such as workers\.small\.count"):
        parse_change(text)


def test_a_change_makes_and_removes_tables() -> None:
    """What it changes stays as it was."""
    before = {"a": {"b": 1, "c": 2}}
    after = changed(before, [(("a", "b"), None), (("x", "y"), 3)])
    assert after == {"a": {"c": 2}, "x": {"y": 3}}
    assert before == {"a": {"b": 1, "c": 2}}
    with pytest.raises(WrongScenario, match=r"a\.b is no table"):
        changed(before, [(("a", "b", "c"), 1)])


def test_variants_may_be_written_as_tables() -> None:
    """Keys with dots and tables say the same."""
    tables = {"variants": {"v": {"workers.w.count": 1, "workspaces": {"a": {"groups.g.limit": 2}}}}}
    (variant,) = read_variants(tables)
    assert dict(variant.changes) == {
        ("workers", "w", "count"): 1,
        ("workspaces", "a", "groups", "g", "limit"): 2,
    }


def test_quantities() -> None:
    """As the command line writes them."""
    assert float(seconds("1h30m")) == 5400
    assert seconds("250us").micros == 250
    assert seconds(0.5).micros == 500_000
    assert size("2GiB") == 2 << 30
    assert size("1.5k") == 1500


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1s", "2GiB", "default", {"every": "1s"}, {"exponential": "1s"}]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = st.sampled_from(
    ["duration", "workers", "loads", "workspaces", "count", "cpu", "arrivals", "every", "groups"]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(MEMBERS, st.dictionaries(MEMBERS, VALUES, max_size=4) | VALUES, max_size=4))
def test_whatever_is_written_is_read_or_told(tables: Mapping[str, Any]) -> None:
    """Nothing but our own errors comes out."""
    try:
        runs_of({"duration": 1, **tables})
    except SimulationError as error:
        assert str(error)  # noqa: PT017 - either way is right
