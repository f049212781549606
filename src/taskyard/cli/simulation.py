"""Simulations for the command line: files read, runs made one after the other, errors told."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.output import clean
from taskyard.cli.quantities import format_duration
from taskyard.simulation.changes import Change, Tables, parse_change
from taskyard.simulation.errors import TooLarge, WrongScenario
from taskyard.simulation.history import History
from taskyard.simulation.report import Result
from taskyard.simulation.running import Costs, Run, runs_of
from taskyard.simulation.running import simulated as run_simulated
from taskyard.simulation.scenario import Limits
from taskyard.simulation.scenario_text import LARGEST_BYTES, ScenarioText

if TYPE_CHECKING:
    from taskyard.store.transfer.address import Location

Watch = Callable[[str, float | None], None]
"""Told what is going on, and which share of it is done, if that is known."""
_REFERENCE: Final = "docs/reference/simulation.md describes the file."


class Outcome(Struct, frozen=True):
    """What all runs came to."""

    runs: tuple[Result, ...]
    replayed_tasks: int | None = None
    """Tasks taken from a store; None if there was none."""
    unreadable: int = 0
    """Tasks of it that could not be read."""


def limits(tasks: int, workers: int) -> Limits:
    """The limits that are given. Raises :class:`UsageError`."""
    for option, value in (("--max-tasks", tasks), ("--max-workers", workers)):
        if not 1 <= value <= 100_000_000:
            raise UsageError(f"{option} must be from 1 to 100,000,000")
    return Limits(tasks, workers)


def refuse_without_replay(file: Path | None, *options: object) -> None:
    """Raise :class:`UsageError` for what makes no sense unless a history is replayed."""
    if file is None:
        raise UsageError("name a file with a scenario, or take a history with --replay")
    if any(option is not None for option in options):
        raise UsageError("--data, --database and --password-file go with --replay")


def simulated(
    file: Path | None,
    given: Sequence[str],
    location: "Location | None",
    seed: int | None,
    most: Limits,
    watch: Watch,
    remark: Callable[[str], None],
) -> Outcome:
    """All runs; ``remark`` is told of what may not be meant.

    Raises :class:`CommandError`, and a store's errors.
    """
    text = None if file is None else _read(file)
    tables: Tables = {} if text is None else dict(text.tables)
    if seed is not None:
        tables["seed"] = seed
    changes = _changes(given)
    history, unreadable = None, 0
    try:
        if location is not None:
            history, unreadable = _history(location, most, watch)
        runs = runs_of(tables, changes, history, most)
        known = (tables, {} if history is None else history.tables)
        for words in _added(changes, *known):
            remark(f"taskyard: --with: {words}")
        results = []
        for number, run in enumerate(runs, 1):
            part = f"{number} of {len(runs)}"

            def look(run: Run, passed_s: float, arrived: int, ended: int, part: str = part) -> None:
                words = f"{run.name} ({part}): {format_duration(passed_s)}"
                share = min(1.0, passed_s / run.scenario.duration) if arrived > ended else None
                watch(f"{words}, {arrived:,} tasks came, {ended:,} ended", share)

            results.append(run_simulated(run, _COSTS, history, most, look))
    except WrongScenario as error:
        raise _wrong(file, text, error, given) from error
    except TooLarge as error:
        raise CommandError(str(error), exit_status.INVALID) from error
    replayed = None if history is None else history.task_count
    return Outcome(tuple(results), replayed, unreadable)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Watch]:
    """A bar on standard error, where that is a terminal; nothing elsewhere, or for programs."""
    if quiet or not sys.stderr.isatty():
        yield lambda _words, _share: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load, and only this needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task("reading", total=None)

        def watch(words: str, share: float | None) -> None:
            total = None if share is None else 1.0
            shown.update(bar, description=words, completed=share or 0.0, total=total)

        yield watch


def _read(file: Path) -> ScenarioText:
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise CommandError(
            f"{file} cannot be read: {error.strerror}", exit_status.NOT_FOUND
        ) from error
    if len(data) > LARGEST_BYTES:
        raise CommandError(
            f"{file} is larger than {LARGEST_BYTES >> 20} MiB; put workers and loads that are "
            "alike together",
            exit_status.INVALID,
        )
    try:
        return ScenarioText(data.decode(), is_json=file.suffix.lower() == ".json")
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text", exit_status.INVALID) from error
    except WrongScenario as error:
        raise _wrong(file, None, error, ()) from error


def _changes(given: Sequence[str]) -> list[Change]:
    try:
        return [parse_change(text) for text in given]
    except WrongScenario as error:
        raise UsageError(f"--with: {error.problem}") from error


def _added(changes: Sequence[Change], *known: Mapping[str, Any]) -> Iterator[str]:
    """What changes add that was perhaps meant to be there, and is misspelt."""
    told = set()
    for path, value in changes:
        kind, name = path[0], path[1] if len(path) > 1 else None
        if kind not in {"workers", "loads"} or name is None or value is None or path[:2] in told:
            continue
        if not any(name in one.get(kind, {}) for one in known):
            told.add(path[:2])
            source = "file" if known[0] else "history"
            yield f'adds {kind} "{clean(name)}", as the {source} has none of that name'


def _history(location: "Location", most: Limits, watch: Watch) -> tuple[History, int]:
    from taskyard.cli.simulation_history import read_history  # noqa: PLC0415 - loads the stores

    def look(rows: int) -> None:
        watch(f"reading {location.address}: {rows:,} rows", None)

    return read_history(location.address, most.tasks, look)


def _wrong(
    file: Path | None, text: ScenarioText | None, error: WrongScenario, given: Sequence[str]
) -> CommandError:
    """With the place in the file, if it is there."""
    line = error.line
    if line is None and text is not None and error.path:
        line = text.line_of(error.path)
    place = "" if file is None else f"{file}{'' if line is None else f', line {line}'}: "
    if any(one.partition("=")[0].strip() == str(error).partition(":")[0] for one in given):
        place = "--with: "
    return CommandError(f"{place}{error}", exit_status.INVALID, what_to_do=_REFERENCE)


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


_COSTS: Final = Costs(time.process_time, _peak_memory_bytes)
