"""``taskyard show``."""

import msgspec

from taskyard.cli.connection import Connection
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import print_json, say
from taskyard.cli.task_view import print_attempts, print_task


def show(
    task: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Show a task and its attempts, with the proof of every kill.

    Args:
        task: Id of the task; @last is the one submitted last.
        connection: Which server.
    """
    task_id = task_id_of(task)
    with connection.open() as client:
        found = client.get(task_id)
        attempts = client.attempts(task_id)
    if connection.as_json:
        print_json({**msgspec.structs.asdict(found), "attempts": attempts})
        return
    print_task(found)
    if attempts:
        say("")
        print_attempts(attempts)
