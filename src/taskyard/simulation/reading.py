"""Tables as a scenario: types, limits, and what contradicts itself, each told by its place."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from taskyard.core.cron import check_cron
from taskyard.core.errors import InvalidInput
from taskyard.core.ids import WorkspaceName
from taskyard.core.scheduling.policies import problem_of
from taskyard.simulation import scenario as parts
from taskyard.simulation.changes import Change, Tables, changed, path_of
from taskyard.simulation.draws import Distribution, distribution
from taskyard.simulation.errors import TooLarge, WrongScenario
from taskyard.simulation.quantities import Bytes, Seconds, moment, seconds, size

T = TypeVar("T")
_TOP: Final = (
    *("duration", "until", "seed", "start", "scheduling"),
    *("workers", "workspaces", "loads", "variants"),
)
ENTRIES: Final = 10_000
"""Workers' tables, workspaces and loads, each."""
VARIANTS: Final = 16
_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


class Variant(NamedTuple):
    """Something else to compare with."""

    name: str
    changes: tuple[Change, ...]


def read_scenario(
    tables: Mapping[str, Any],
    limits: parts.Limits = parts.USUAL,
    duration: Seconds | None = None,
) -> parts.Scenario:
    """The scenario in some tables; ``duration`` is that of a history, if there is one.

    Raises :class:`WrongScenario` naming the member, and :class:`TooLarge`.
    """
    for name in tables:
        if name not in _TOP:
            raise WrongScenario(f"is unknown; there are {', '.join(_TOP)}", (name,))
    workers = _entries(tables, "workers", parts.Workers)
    _check_groups(tables)
    workspaces = _entries(tables, "workspaces", parts.Workspace)
    loads = _entries(tables, "loads", parts.Load)
    if "duration" in tables:
        duration = _convert(tables["duration"], Seconds, ("duration",))
    if duration is None:
        raise WrongScenario(
            'is missing: for how long tasks come, such as duration = "8h"', ("duration",)
        )
    until = (
        _convert(tables["until"], Seconds, ("until",))
        if "until" in tables
        else Seconds(duration * parts.UNTIL_FACTOR + parts.UNTIL_MORE_S)
    )
    found = parts.Scenario(
        duration=duration,
        until=until,
        seed=_convert(tables.get("seed", 1), int, ("seed",)),
        start=_moment(tables),
        scheduling=_convert(tables.get("scheduling", {}), parts.Scheduling, ("scheduling",)),
        workers=workers,
        workspaces={WorkspaceName(name): one for name, one in workspaces.items()},
        loads=loads,
    )
    _check(found, limits)
    return found


def read_variants(tables: Mapping[str, Any]) -> list[Variant]:
    """The changes that a file wants compared. Raises :class:`WrongScenario`."""
    found = []
    for name, changes in _table(tables, "variants").items():
        path = ("variants", name)
        if not isinstance(changes, dict):
            raise WrongScenario(
                'needs a table of changes, such as "workers.small.count" = 120', path
            )
        read = []
        for key, value in _flat(changes, ()):
            try:
                read.append(
                    (tuple(inner for part in key for inner in path_of(_quoted(part))), value)
                )
            except WrongScenario as error:
                raise WrongScenario(error.problem, (*path, *key)) from error
        found.append(Variant(name, tuple(read)))
    if len(found) > VARIANTS:
        raise WrongScenario(f"has more than {VARIANTS} entries", ("variants",))
    return found


def varied(tables: Mapping[str, Any], variant: Variant) -> Tables:
    """The tables with a variant's changes."""
    return changed(tables, variant.changes)


def _quoted(part: str) -> str:
    """A key as TOML; one with dots in it is a path of its own, in which other names are quoted."""
    return part if re.fullmatch(r"[\w\-.\"' ]+", part, re.ASCII) and "." in part else f'"{part}"'


def _flat(changes: Mapping[str, Any], before: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in changes.items():
        if isinstance(value, dict) and len(before) < 3 and "." not in name:
            found += _flat(value, (*before, name))
        else:
            found.append(((*before, name), value))
    return found


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = tables.get(name, {})
    if not isinstance(found, dict):
        raise WrongScenario(f"needs a table for each entry: [{name}.NAME]", (name,))
    if len(found) > ENTRIES:
        raise TooLarge(f"{name} has more than {ENTRIES:,} entries; put what is alike together")
    return found


def _entries(tables: Mapping[str, Any], name: str, kind: type[T]) -> dict[str, T]:
    return {
        entry: _convert(value, kind, (name, entry)) for entry, value in _table(tables, name).items()
    }


def _check_groups(tables: Mapping[str, Any]) -> None:
    """Each by itself: what is found wrong in a map is told without its key."""
    for name, workspace in _table(tables, "workspaces").items():
        groups = workspace.get("groups") if isinstance(workspace, dict) else None
        for group, value in groups.items() if isinstance(groups, dict) else ():
            _convert(value, parts.Group, ("workspaces", name, "groups", group))


def _moment(tables: Mapping[str, Any]) -> Any:
    if "start" not in tables:
        return parts.Scenario.__struct_defaults__[1]
    try:
        return moment(tables["start"])
    except ValueError as error:
        raise WrongScenario(str(error), ("start",)) from error


_HOOKS: Final[dict[Any, Callable[[Any], Any]]] = {
    Seconds: seconds,
    Bytes: size,
    Distribution: distribution,
}


def _hook(kind: Any, value: Any) -> Any:
    return _HOOKS[kind](value)


def _convert(value: Any, kind: type[T], path: tuple[str, ...]) -> T:
    try:
        return msgspec.convert(value, kind, dec_hook=_hook)
    except msgspec.ValidationError as error:
        said = str(error)
        match = _PLACE.search(said)
        problem = _PLACE.sub("", said)
        inner = (
            [] if match is None else [name or number for name, number in _STEP.findall(match[1])]
        )
        unknown = re.search(r"unknown field `(.+)`$", problem)
        if unknown is not None and issubclass(kind, msgspec.Struct):
            inner.append(unknown[1])
            known = "" if len(inner) > 1 else f"; there are {', '.join(kind.__struct_fields__)}"
            problem = f"is unknown{known}"
        missing = re.search(r"missing required field `(.+)`$", problem)
        if missing is not None:
            inner.append(missing[1])
            problem = "is missing"
        raise WrongScenario(problem, (*path, *filter(None, inner))) from error


def _check(found: parts.Scenario, limits: parts.Limits) -> None:
    if found.until < found.duration:
        raise WrongScenario("must not be shorter than duration", ("until",))
    if not found.workers:
        raise WrongScenario(
            "is missing: describe at least one kind, as [workers.NAME]", ("workers",)
        )
    if found.worker_count > limits.workers:
        raise TooLarge(
            f"{found.worker_count:,} workers are more than {limits.workers:,}; "
            "lower a count, or allow more with --max-workers"
        )
    for workspace in found.workspaces:
        if not re.fullmatch(parts.WORKSPACE, workspace):
            raise WrongScenario(
                "is no name of a workspace: lower-case letters, digits, _ and -, 63 at most",
                ("workspaces", workspace),
            )
    for name, worker in found.workers.items():
        _check_workers(worker, ("workers", name))
    for name, load in found.loads.items():
        _check_load(load, ("loads", name))


def _check_workers(worker: parts.Workers, path: tuple[str, ...]) -> None:
    for member in ("fails", "back_after"):
        value = getattr(worker, member)
        if value is not None and value < 1:
            raise WrongScenario("must be at least 1s", (*path, member))
    if worker.lifetime is not None and worker.lifetime.at(0.5) < 1:
        raise WrongScenario("must be at least 1s", (*path, "lifetime"))
    if worker.lifetime is not None and worker.drain >= worker.lifetime.at(0.5):
        raise WrongScenario("must be shorter than the usual lifetime", (*path, "drain"))


def _check_load(load: parts.Load, path: tuple[str, ...]) -> None:
    arrivals = load.arrivals
    given = [name for name in ("every", "rate", "cron") if getattr(arrivals, name) is not None]
    if len(given) != 1:
        raise WrongScenario("needs exactly one of every, rate and cron", (*path, "arrivals"))
    if arrivals.every is not None and arrivals.every < 1e-6:
        raise WrongScenario("must be at least 1us", (*path, "arrivals", "every"))
    if arrivals.over and (arrivals.every is None or arrivals.over > arrivals.every):
        raise WrongScenario(
            "goes with every, and must not be longer than that", (*path, "arrivals", "over")
        )
    if arrivals.cron is not None:
        try:
            check_cron(arrivals.cron, arrivals.timezone)
        except InvalidInput as error:
            raise WrongScenario(error.problem, (*path, "arrivals", error.field)) from error
    if load.cores is not None and load.cpu is not None:
        raise WrongScenario(
            "goes without cpu: whole cores are reserved in its place", (*path, "cores")
        )
    if load.placement is not None and (problem := problem_of(load.placement)) is not None:
        raise WrongScenario(problem, (*path, "placement"))
    if load.end is not None and load.end < load.begin:
        raise WrongScenario("must not be before begin", (*path, "end"))
