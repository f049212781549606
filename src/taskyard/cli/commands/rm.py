"""``taskyard rm``."""

from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import print_json, say


def rm(
    *tasks: str,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Remove ended tasks and their output for good.

    Args:
        tasks: Ids of tasks; @last is the one submitted last.
        connection: Which server.
    """
    if not tasks:
        raise UsageError("give ids of tasks to remove")
    ids = [task_id_of(task) for task in tasks]
    with connection.open() as client:
        for task_id in ids:
            client.delete(task_id)
            if not connection.as_json:
                say(f"removed {task_id}")
    if connection.as_json:
        print_json({"removed": ids})
