"""What a simulation came to, for people: one run in full, several beside each other."""

from collections.abc import Callable, Iterable
from typing import Final

from taskyard.cli.output import clean, plain, print_facts, print_table, say
from taskyard.cli.quantities import format_duration, format_size
from taskyard.cli.simulation import Outcome
from taskyard.simulation.report import Result, Utilisation, Waits

SHOWN: Final = 20
"""Rows of a table; the rest is counted."""


def show(outcome: Outcome) -> None:
    """Print all of it."""
    first, *others = outcome.runs
    if outcome.replayed_tasks is not None:
        say(f"Replayed {outcome.replayed_tasks:,} tasks.")
    _show_run(first)
    if others:
        say("")
        _compare(outcome.runs)


def _show_run(run: Result) -> None:
    tasks = run.tasks
    ends = ("succeeded", "failed", "dead", "cancelled", "expired", "running", "queued", "retrying")
    counts = (f"{getattr(tasks, name):,} {name}" for name in ends if getattr(tasks, name))
    at_once = f"{run.decisions:,}, {run.decided_at_once:,} of them as the task came"
    lost = f"{run.attempts:,}" + (f", {run.attempts_lost:,} lost" if run.attempts_lost else "")
    per_s = run.timing.decisions_per_s
    print_facts(
        [
            ("simulated", format_duration(run.simulated_s)),
            (
                "workers",
                f"{run.workers:,}"
                + (f", {run.worker_deaths:,} deaths" if run.worker_deaths else ""),
            ),
            ("tasks", f"{tasks.arrived:,}: " + ", ".join(counts)),
            ("attempts", lost),
            ("decisions", at_once),
            ("in use", _utilisation(run.utilisation)),
            ("waits", _waits(run.waits)),
            ("fairness", None if run.fairness is None else f"{run.fairness:.3f} (Jain's index)"),
            (
                "took",
                f"{run.timing.seconds:.1f} s of processor time, "
                f"{format_size(run.timing.peak_memory_bytes)} of memory"
                + ("" if per_s is None else f", {per_s:,.0f} decisions/s"),
            ),
        ]
    )
    columns = ("WORKSPACE", "GROUP", "TASKS>", "P50>", "P95>", "P99>", "MOST WAITING>")
    say("")
    _print(
        columns,
        [
            (
                one.workspace,
                one.group,
                f"{one.arrived:,}",
                *_percentiles(one.waits),
                f"{one.most_waiting:,}",
            )
            for one in run.groups
        ],
    )
    if len(run.workspaces) > 1:
        say("")
        _print(
            ("WORKSPACE", "SHARE>", "P50>", "P95>", "P99>", "WAITING FOR>", "RUNNING MEANWHILE>"),
            [
                (
                    one.workspace,
                    f"{one.share:.1%}",
                    *_percentiles(one.waits),
                    format_duration(one.contended_s),
                    ""
                    if one.mean_running_contended is None
                    else f"{one.mean_running_contended:.1f}",
                )
                for one in run.workspaces
            ],
        )
    if run.still_waiting:
        say("")
        _print(
            ("WORKSPACE", "GROUP", "STILL WAITING>", "WHY"),
            [(one.workspace, one.group, f"{one.count:,}", one.why) for one in run.still_waiting],
        )


_ROWS: Final[tuple[tuple[str, Callable[[Result], str]], ...]] = (
    ("ended", lambda run: f"{run.tasks.arrived - _left(run):,} of {run.tasks.arrived:,}"),
    ("simulated", lambda run: format_duration(run.simulated_s)),
    ("wait, mean", lambda run: _duration(run.waits.mean_s)),
    ("wait, p50", lambda run: _duration(run.waits.p50_s)),
    ("wait, p95", lambda run: _duration(run.waits.p95_s)),
    ("wait, p99", lambda run: _duration(run.waits.p99_s)),
    ("slots in use", lambda run: _share(run.utilisation.slots)),
    ("cores in use", lambda run: _share(run.utilisation.cpu)),
    ("memory in use", lambda run: _share(run.utilisation.memory)),
    ("fairness", lambda run: "" if run.fairness is None else f"{run.fairness:.3f}"),
    ("attempts lost", lambda run: f"{run.attempts_lost:,}"),
)


def _compare(runs: tuple[Result, ...]) -> None:
    for run in runs[1:]:
        changes = ", ".join(f"{key} = {value}" for key, value in run.changes.items())
        say(clean(f"{run.name}: {changes}"))
    say("")
    print_table(
        ("", *(f"{run.name}>" for run in runs)),
        ((plain(name), *(plain(words(run)) for run in runs)) for name, words in _ROWS),
    )


def _left(run: Result) -> int:
    return run.tasks.running + run.tasks.queued + run.tasks.retrying


def _print(columns: tuple[str, ...], rows: Iterable[Iterable[object]]) -> None:
    listed = list(rows)
    print_table(columns, ([plain(cell) for cell in row] for row in listed[:SHOWN]))
    if len(listed) > SHOWN:
        say(f"and {len(listed) - SHOWN:,} more, see --json")


def _percentiles(waits: Waits) -> tuple[str, str, str]:
    return _duration(waits.p50_s), _duration(waits.p95_s), _duration(waits.p99_s)


def _waits(waits: Waits) -> str:
    p50, p95, p99 = _percentiles(waits)
    return f"p50 {p50}, p95 {p95}, p99 {p99}" if waits.count else "none began"


def _utilisation(used: Utilisation) -> str:
    slots, cpu, memory = map(_share, (used.slots, used.cpu, used.memory))
    return f"{slots} of slots, {cpu} of cores, {memory} of memory"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _duration(value: float | None) -> str:
    return "" if value is None else format_duration(value)
