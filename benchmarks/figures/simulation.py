"""The work of a large installation by the simulator: the scheduler's code without a store."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Bench, Lines
from benchmarks.rows import Requirement, Row, plain

NAME = "simulation"
WORKERS, TASKS = 10_000, 1_000_000
QUICK_WORKERS, QUICK_TASKS = 1_000, 20_000
SLOTS, MEAN_S = 8, 60.0
WORKSPACES, GROUPS = 10, 5
LEAST = Requirement("figure", "at least", 3_000, "/s")
_DECISIONS = "decisions a second of processor time"
_TIME = "processor time"
_MEMORY = "peak memory"
CASES = {"0.9 of the slots asked for": 0.9, "1.5 times the slots asked for": 1.5}
LINES: Lines = {
    f"10,000 workers, 1,000,000 tasks, {case}: {what}": LEAST if what == _DECISIONS else None
    for case in CASES
    for what in (_DECISIONS, _TIME, _MEMORY)
}


def measure(bench: Bench) -> Sequence[Row]:
    """One run of each; every run in a process of its own, since memory is its most so far."""
    rows = []
    workers, tasks = (QUICK_WORKERS, QUICK_TASKS) if bench.scale.quick else (WORKERS, TASKS)
    lines = iter(LINES)
    for asked in CASES.values():
        timing = _run(bench.data, scenario(workers, tasks, asked))["timing"]
        rows.append(plain(NAME, next(lines), "/s", [timing["decisions_per_s"]], LEAST))
        rows.append(plain(NAME, next(lines), "s", [timing["seconds"]]))
        rows.append(plain(NAME, next(lines), "MiB", [timing["peak_memory_bytes"] / (1 << 20)]))
    return rows


def scenario(workers: int, tasks: int, asked: float) -> dict[str, Any]:
    """Workspaces with groups, whose tasks ask for a core, a gigabyte and a minute in the mean.

    ``asked`` is how many slots they would use for each one that there is.
    """
    rate = workers * SLOTS * asked / MEAN_S
    share = rate / (WORKSPACES * GROUPS)
    loads = {
        f"{workspace}-{group}": {
            "workspace": f"w{workspace}",
            "group": f"g{group}",
            "arrivals": {"rate": share},
            "duration": {"exponential": MEAN_S},
            "cpu": 1,
            "memory": "1GiB",
        }
        for workspace in range(WORKSPACES)
        for group in range(GROUPS)
    }
    fleet = {"w": {"count": workers, "cpu": SLOTS, "memory": "32GiB", "slots": SLOTS}}
    return {"duration": tasks / rate, "workers": fleet, "loads": loads}


def _run(data: Path, tables: dict[str, Any]) -> dict[str, Any]:
    path = data / "simulation.json"
    path.write_text(json.dumps(tables))
    program = Path(sys.executable).with_name("taskyard")
    done = subprocess.run(
        [program, "simulate", path, "--json"], capture_output=True, check=True, timeout=3600
    )
    (run,) = json.loads(done.stdout)["runs"]
    if not run["complete"]:
        raise RuntimeError(f"tasks are left: {run['still_waiting']}")
    return dict(run)
