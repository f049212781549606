"""Tasks and attempts as people see them."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskyard.cli.output import clean, coloured, one_line, plain, print_facts, print_table, say
from taskyard.cli.quantities import format_duration, format_moment, format_size
from taskyard.sdk.models import Attempt, Confinement, KillReport, Task

if TYPE_CHECKING:
    from rich.console import RenderableType

TASK_COLUMNS = ("ID", "STATE", "GROUP", "NAME", "TRIES>", "CREATED", "TOOK>", "COMMAND")


def command_line(task: Task, limit: int = 0) -> str:
    """The command as one would type it, cut to ``limit`` characters if that is not 0."""
    line = task.command if isinstance(task.command, str) else shlex.join(task.command)
    if task.image is not None:
        line = f"[{task.image}] {line}"
    line = line or f"({task.runtime})"
    line = " ".join(clean(line).split())
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def task_rows(tasks: Iterable[Task]) -> Iterator[Sequence["RenderableType"]]:
    """Rows under :data:`TASK_COLUMNS`."""
    now = datetime.now(UTC)
    for task in tasks:
        yield (
            plain(task.id),
            coloured(task.state),
            one_line(task.group),
            one_line(task.name),
            one_line(task.attempt_count or ""),
            one_line(format_moment(task.created_at, now)),
            one_line("" if task.ran_s is None else format_duration(task.ran_s)),
            one_line(command_line(task, 60)),
        )


def span(start: datetime | None, end: datetime | None) -> str:
    """How long something took; empty while it is not over."""
    if start is None or end is None:
        return ""
    return format_duration(max(0.0, (end - start).total_seconds()))


def print_task(task: Task) -> None:
    """All facts of a task."""
    now = datetime.now(UTC)
    retry = f"{task.retry.max_attempts} attempts" if task.retry.max_attempts > 1 else None
    print_facts(
        [
            ("id", task.id),
            ("state", task.state),
            ("reason", task.reason),
            ("message", task.message),
            ("image", task.image),
            ("command", command_line(task)),
            ("name", task.name),
            ("group", task.group),
            ("workspace", task.workspace),
            ("priority", task.priority or None),
            ("directory", task.cwd),
            ("environment", " ".join(_environment(task))),
            ("user", task.user),
            ("resources", _resources(task)),
            ("strict", "fails where a limit cannot be enforced" if task.strict else None),
            ("time limit", format_duration(task.timeout_s) if task.timeout_s else None),
            ("retries", retry),
            ("schedule", f"{task.cron} ({task.timezone})" if task.cron else None),
            ("starts", _when(task.start_at, now)),
            ("expires", _when(task.expires_at, now)),
            ("created", _when(task.created_at, now)),
            ("finished", _when(task.finished_at, now)),
            ("ran", None if task.ran_s is None else format_duration(task.ran_s)),
            ("exit code", task.exit_code),
            ("labels", " ".join(f"{key}={value}" for key, value in task.labels.items())),
            ("firing of", task.schedule_id),
            ("retry of", task.retry_of),
        ]
    )


def _environment(task: Task) -> Iterator[str]:
    for name, value in task.env.items():
        shown = value if isinstance(value, str) else f"@secret:{value.secret}"
        yield f"{name}={shlex.quote(shown)}"


def _resources(task: Task) -> str:
    asked = task.resources
    memory = format_size(asked.memory)
    parts: list[tuple[str, Any]] = [("cpu", asked.cpu), ("memory", memory), ("pids", asked.pids)]
    parts.append(("cores", asked.cores))
    return ", ".join(f"{name} {value}" for name, value in parts if value)


def _when(at: datetime | None, now: datetime) -> str | None:
    if at is None:
        return None
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z} ({format_moment(at, now)})"


def print_attempts(attempts: Sequence[Attempt]) -> None:
    """A table of attempts, and the proof of every kill."""
    print_table(
        ("TRY>", "STATE", "WORKER", "TOOK>", "EXIT", "CPU>", "MEMORY>", "OUTPUT>", "MESSAGE"),
        (
            (
                plain(attempt.number),
                coloured(attempt.state),
                plain(attempt.worker_id),
                plain(span(attempt.started_at, attempt.finished_at)),
                plain(attempt.signal or attempt.exit_code),
                plain(_cpu(attempt)),
                plain(format_size(attempt.usage.memory_peak_bytes if attempt.usage else None)),
                plain(format_size(attempt.stdout.stored_bytes + attempt.stderr.stored_bytes)),
                plain(attempt.message or attempt.reason),
            )
            for attempt in attempts
        ),
    )
    for attempt in attempts:
        if attempt.confinement is not None:
            say(f"attempt {attempt.number}: {format_confinement(attempt.confinement)}")
        for warning in attempt.warnings:
            say(f"attempt {attempt.number}: warning: {clean(warning)}")
        if attempt.kill_report is not None:
            say(f"attempt {attempt.number}: {format_kill(attempt.kill_report)}")


def format_confinement(held: Confinement) -> str:
    """As whom and how limited it ran, in one line."""
    how = {
        "none": "the server's own user, not isolated",
        "sandbox": "in a sandbox",
        "container": "in a container",
    }
    who = f"user {held.user}, " if held.user else ""
    text = who + how.get(held.isolation, "a user of its workspace")
    if held.enforced:
        text += f"; limits enforced: {', '.join(held.enforced)}"
    if held.unenforced:
        text += f"; NOT enforced: {', '.join(held.unenforced)}"
    return text


def _cpu(attempt: Attempt) -> str:
    usage = attempt.usage
    if usage is None or usage.cpu_user_s is None:
        return ""
    return format_duration(usage.cpu_user_s + (usage.cpu_system_s or 0))


def format_kill(report: KillReport) -> str:
    """The proof of a kill in one sentence."""
    took = format_duration(max(0.0, (report.done_at - report.requested_at).total_seconds()))
    if report.forced:
        polite = f"{report.signal} was not enough; " if report.signal else ""
        how = f"{polite}{report.killed_count} processes killed outright ({report.method})"
    else:
        how = f"ended after {report.signal or 'the request'}"
    left = (
        "SURVIVORS: " + ", ".join(f"{each.pid} {clean(each.command)}" for each in report.survivors)
        if report.survivors
        else "no survivors"
    )
    return f"{how} in {took}; {left}"


def describe_end(task: Task) -> str:
    """How the task ended, as a sentence."""
    words = f"task {task.id} {task.state}"
    if task.message:
        return f"{words}: {task.message}"
    return f"{words}: {task.reason}" if task.reason else words
