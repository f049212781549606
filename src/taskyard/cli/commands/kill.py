"""``taskyard kill``."""

from typing import Annotated, Any

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.errors import UsageError
from taskyard.cli.frame import Printed, client_command, lines
from taskyard.cli.last_task import task_id_of
from taskyard.cli.quantities import seconds
from taskyard.cli.task_view import format_kill
from taskyard.sdk import Client
from taskyard.sdk.models import Attempt, Outcome, Task

_KILL_S = 60.0
"""What a forced kill may take after the grace period."""


@client_command
def kill(
    client: Client,
    *tasks: str,
    group: Annotated[str | None, Parameter(name=["--group", "-g"])] = None,
    signal: str | None = None,
    grace: str | None = None,
    wait: Annotated[bool, Parameter(negative="--no-wait")] = True,
) -> Printed:
    """Cancel waiting tasks and kill running ones; waits for proof that no process survived.

    Exits with 1 when a task is unknown, had ended before, or has survivors.

    Args:
        tasks: Task ids; @last is the task submitted last.
        group: All tasks of this group that have not ended, instead of ids.
        signal: First signal, such as SIGINT; SIGKILL skips the grace period.
        grace: How long tasks may take to end before they are killed with SIGKILL, such as 5s.
        wait: Do not wait for the proof.
    """
    if bool(tasks) == (group is not None):
        raise UsageError("give either task ids or --group")
    if group is not None and (signal or grace):
        raise UsageError("--signal and --grace can only be used with task ids, not with --group")
    numbers = [task for task in tasks if task.startswith("-")]
    if numbers:
        raise UsageError(
            f"{numbers[0]} is not a task id",
            what_to_do="Name a signal with --signal, such as --signal SIGKILL.",
        )
    grace_s = None if grace is None else seconds(grace, "--grace")
    outcomes = _cancel(client, [task_id_of(task) for task in tasks], group, signal, grace_s)
    reports = [_report(client, outcome, wait) for outcome in outcomes]
    succeeded = all(_is_good(report) for report, _ in reports)
    return lines(
        [report for report, _ in reports],
        [line for _, line in reports] or ["nothing to kill"],
        exit_status.OK if succeeded else exit_status.FAILED,
    )


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
    task = client.wait(outcome.task_id, client.get(outcome.task_id).kill.grace_s + _KILL_S)
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
