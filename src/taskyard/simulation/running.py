"""All runs that a scenario asks for: as it is, and with each of its variants."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from taskyard.simulation.changes import Change
from taskyard.simulation.errors import WrongScenario, dotted
from taskyard.simulation.history import History
from taskyard.simulation.reading import Variant, read_scenario, read_variants, varied
from taskyard.simulation.report import Result, result_of
from taskyard.simulation.scenario import USUAL, Limits, Scenario
from taskyard.simulation.simulator import Simulator
from taskyard.simulation.workload import load_sources

BASE: Final = "as it is"
CHANGED: Final = "changed"
"""Name of the run with what the command line changes."""


class Costs(NamedTuple):
    """Where what a run costs can be read."""

    cpu_s: Callable[[], float]
    """Processor time of this process."""
    peak_memory_bytes: Callable[[], int]


class Run(NamedTuple):
    """One run to make."""

    name: str
    changes: dict[str, object]
    scenario: Scenario


Watch = Callable[[Run, float, int, int], None]
"""Told the run, the seconds simulated so far, the tasks that came, and those that ended."""


def runs_of(
    tables: Mapping[str, Any],
    given: Sequence[Change] = (),
    history: History | None = None,
    limits: Limits = USUAL,
) -> list[Run]:
    """The runs to make: all are checked before the first of them begins.

    Args:
        tables: of the scenario's file; those of a history are beneath them.
        given: changes from the command line, which make one more variant.
        history: what an installation did, if that is replayed.
        limits: how large it may be.

    Raises:
        WrongScenario: a member is wrong; of a variant's, its name is in the problem.
        TooLarge: there are more workers than is allowed.
    """
    duration = None if history is None else history.duration
    if history is not None:
        tables = _over(history.tables, tables)
    variants = read_variants(tables)
    if given:
        variants.append(Variant(CHANGED, tuple(given)))
    found = [Run(BASE, {}, read_scenario(tables, limits, duration))]
    for variant in variants:
        changes = {dotted(path): value for path, value in variant.changes}
        try:
            scenario = read_scenario(varied(tables, variant), limits, duration)
        except WrongScenario as error:
            problem = f"{error.problem} (in the variant {variant.name!r})"
            raise WrongScenario(problem, error.path) from error
        found.append(Run(variant.name, changes, scenario))
    for one in found:
        if history is None and not one.scenario.loads:
            raise WrongScenario(
                "is missing: describe at least one load, as [loads.NAME]", ("loads",)
            )
    return found


def simulated(
    run: Run,
    costs: Costs,
    history: History | None = None,
    limits: Limits = USUAL,
    watch: Watch | None = None,
) -> Result:
    """Make one run. Raises :class:`TooLarge`."""
    scenario = run.scenario
    sources = [*load_sources(scenario), *(() if history is None else history.sources)]

    def look(passed_s: float, arrived: int, ended: int) -> None:
        if watch is not None:
            watch(run, passed_s, arrived, ended)

    began = costs.cpu_s()
    simulator = Simulator(scenario, sources, limits, look)
    simulator.run()
    took = costs.cpu_s() - began
    return result_of(simulator, run.name, run.changes, scenario, took, costs.peak_memory_bytes())


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of a file over those of a history, entry by entry."""
    found = {**below, **above}
    for name in ("workers", "workspaces"):
        mine, theirs = above.get(name, {}), below.get(name, {})
        if isinstance(mine, dict):
            found[name] = {**theirs, **mine}
    return found
