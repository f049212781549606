"""``taskyard show``, ``wait``, ``why``, ``retry`` and ``rm``: what a task id is all they need."""

import time
from collections.abc import Iterator

import msgspec

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.frame import Printed, client_command, lines
from taskyard.cli.last_task import remember, task_id_of
from taskyard.cli.output import clean, note, print_json, say
from taskyard.cli.quantities import seconds
from taskyard.cli.task_view import describe_end, print_attempts, print_task
from taskyard.sdk import Client


@client_command
def show(client: Client, task: str) -> Printed:
    """Show a task and its attempts, with the proof of every kill.

    Args:
        task: Task id; @last is the task submitted last.
    """
    task_id = task_id_of(task)
    found, attempts = client.get(task_id), client.attempts(task_id)

    def view() -> None:
        print_task(found)
        if attempts:
            say("")
            print_attempts(attempts)

    return Printed({**msgspec.structs.asdict(found), "attempts": attempts}, view)


@client_command
def wait(client: Client, *tasks: str, timeout: str | None = None) -> Printed:
    """Wait until tasks have ended: exits with 0 if all succeeded, 1 if not, 75 on timeout.

    Args:
        tasks: Task ids; the task submitted last if there are none.
        timeout: How long to wait for all of them, such as 5m.
    """
    ids = [task_id_of(task) for task in tasks or ("@last",)]
    deadline = None if timeout is None else time.monotonic() + seconds(timeout, "--timeout")
    found = []
    for task_id in ids:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        found.append(client.wait(task_id, left))
    if any(not task.ended for task in found):
        note("taskyard: timed out before all tasks had ended")
        status = exit_status.TRY_AGAIN
    else:
        succeeded = all(task.state == "succeeded" for task in found)
        status = exit_status.OK if succeeded else exit_status.FAILED
    return lines(found[0] if len(found) == 1 else found, map(describe_end, found), status)


@client_command
def why(client: Client, task: str) -> Printed:
    """Explain why a task is waiting, or how it ended.

    Args:
        task: Task id; @last is the task submitted last.
    """
    answer = client.why(task_id_of(task))
    story = [f"  - {clean(line)}" for line in answer.story]
    return lines(answer, [f"{answer.state}: {clean(answer.summary)}", *story])


@client_command
def retry(client: Client, *tasks: str) -> Iterator[Printed]:
    """Submit failed, dead, cancelled or expired tasks again; prints the new ids.

    Args:
        tasks: Task ids; @last is the task submitted last.
    """
    if not tasks:
        raise UsageError("give the ids of the tasks to retry")
    for task_id in [task_id_of(task) for task in tasks]:
        again = client.retry(task_id)
        remember(again.id)
        yield lines(again, [again.id])


def rm(
    *tasks: str,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Permanently remove ended tasks and their output.

    Args:
        tasks: Task ids; @last is the task submitted last.
        connection: Which server.
    """
    if not tasks:
        raise UsageError("give the ids of the tasks to remove")
    ids = [task_id_of(task) for task in tasks]
    with connection.open() as client:
        for task_id in ids:
            client.delete(task_id)
            if not connection.as_json:
                say(f"removed {task_id}")
    if connection.as_json:
        print_json({"removed": ids})
