"""``taskyard kill``."""

from typing import Annotated, Any

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import print_json, say
from taskyard.cli.quantities import seconds
from taskyard.cli.task_view import format_kill
from taskyard.sdk import Client
from taskyard.sdk.models import Attempt, Outcome, Task

_SETTLE_S = 60.0
"""What an outright kill may take behind the grace."""


def kill(
    *tasks: str,
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
    signal: str | None = None,
    grace: str | None = None,
    wait: Annotated[bool, Parameter(negative="--no-wait")] = True,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Cancel waiting tasks and kill running ones; waits for the proof that nothing survived.

    Exits with 1 when a task is unknown, had ended before, or has survivors.

    Args:
        tasks: Ids of tasks; @last is the one submitted last.
        group: All unended tasks of this group instead.
        signal: First signal, such as SIGINT; SIGKILL skips the grace.
        grace: How long they may take before they are killed outright, such as 5s.
        wait: Do not wait for the proof.
        connection: Which server.
    """
    if bool(tasks) == (group is not None):
        raise UsageError("give ids of tasks, or --group")
    if group is not None and (signal or grace):
        raise UsageError("--signal and --grace go with ids, not with --group")
    numbers = [task for task in tasks if task.startswith("-")]
    if numbers:
        raise UsageError(
            f"{numbers[0]} is not a task id",
            what_to_do="Name a signal with --signal, such as --signal SIGKILL.",
        )
    grace_s = None if grace is None else seconds(grace, "--grace")
    with connection.open() as client:
        outcomes = _cancel(client, [task_id_of(task) for task in tasks], group, signal, grace_s)
        reports = [_report(client, outcome, wait) for outcome in outcomes]
    if connection.as_json:
        print_json([report for report, _ in reports])
    else:
        for _, line in reports:
            say(line)
        if not reports:
            say("nothing to kill")
    return exit_status.OK if all(_is_good(report) for report, _ in reports) else exit_status.FAILED


def _cancel(
    client: Client, ids: list[str], group: str | None, signal: str | None, grace_s: float | None
) -> list[Outcome]:
    if group is not None:
        return list(client.cancel_many(group=group))
    if len(ids) == 1 or signal is not None or grace_s is not None:
        return [client.cancel(task_id, signal, grace_s) for task_id in ids]
    return list(client.cancel_many(ids))


def _report(client: Client, outcome: Outcome, wait: bool) -> tuple[dict[str, Any], str]:
    """The outcome for programs and for people."""
    report: dict[str, Any] = {"task_id": outcome.task_id, "outcome": outcome.outcome}
    if outcome.outcome != "killing" or not wait:
        return report, f"{outcome.task_id} {outcome.outcome}"
    task = client.wait(outcome.task_id, client.get(outcome.task_id).kill.grace_s + _SETTLE_S)
    last = _last(client, task)
    proof = last.kill_report if last is not None else None
    report |= {"state": task.state, "kill_report": proof}
    if not task.ended:
        return report, f"{task.id} is still {task.state}"
    return report, f"{task.id} {task.state}: {format_kill(proof) if proof else 'ended by itself'}"


def _last(client: Client, task: Task) -> Attempt | None:
    attempts = client.attempts(task.id)
    return attempts[-1] if attempts else None


def _is_good(report: dict[str, Any]) -> bool:
    if report["outcome"] in {"unknown", "ended"}:
        return False
    proof = report.get("kill_report")
    return proof is None or not proof.survivors
