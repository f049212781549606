"""``taskyard simulate``."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from taskyard.cli.frame import Printed
from taskyard.cli.moving import location_of, reported
from taskyard.cli.output import note, on_terminal


def simulate(
    file: Path | None = None,
    *,
    changes: Annotated[tuple[str, ...], Parameter(name="--with")] = (),
    replay: bool = False,
    data: str | None = None,
    database: str | None = None,
    password_file: Path | None = None,
    seed: int | None = None,
    max_tasks: int = 2_000_000,
    max_workers: int = 50_000,
    json: bool = False,
) -> int:
    """Try a change before you make it: the scheduler on a virtual clock. Needs no server.

    Args:
        file: Scenario in TOML, or in JSON if its name ends in .json: workers, limits, loads,
            variants. May be left out with --replay.
        changes: KEY=VALUE, something to change of the scenario and to compare with it, such as
            workers.small.count=120; repeatable, all of them make one variant.
        replay: Take tasks, workers and limits from the history in a store; only reads it. Those of
            the file are added.
        data: Data directory of that store.
        database: PostgreSQL database of that store, as postgresql://USER@HOST:PORT/DATABASE.
        password_file: File with the database's password in its first line.
        seed: Number that chance is drawn from, in place of the scenario's. The same one gives the
            same result.
        max_tasks: Tasks in one run at most.
        max_workers: Workers in one run at most.
        json: Print JSON, the default when the output is not a terminal.
    """
    from taskyard.cli import simulation  # noqa: PLC0415 - loads slowly
    from taskyard.cli.simulation_view import show  # noqa: PLC0415 - as above

    as_json = json or not on_terminal()
    limits = simulation.limits(max_tasks, max_workers)
    location = location_of(data, database, password_file) if replay else None
    if location is None:
        simulation.refuse_without_replay(file, data, database, password_file)
    remarks: list[str] = []
    with reported(), simulation.progress(quiet=as_json) as watch:
        outcome = simulation.simulated(file, changes, location, seed, limits, watch, remarks.append)
    for words in remarks:
        # After the bar, which would be drawn over.
        note(words)
    if outcome.unreadable:
        note(f"{outcome.unreadable:,} tasks of the store could not be read, and are left out.")
    return Printed(outcome, lambda: show(outcome)).print(as_json=as_json)
