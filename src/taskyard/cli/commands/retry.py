"""``taskyard retry``."""

from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.last_task import remember, task_id_of
from taskyard.cli.output import print_json, say


def retry(
    *tasks: str,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Submit failed, dead, cancelled or expired tasks anew; prints the new ids.

    Args:
        tasks: Ids of tasks; @last is the one submitted last.
        connection: Which server.
    """
    if not tasks:
        raise UsageError("give ids of tasks to retry")
    ids = [task_id_of(task) for task in tasks]
    with connection.open() as client:
        for task_id in ids:
            task = client.retry(task_id)
            remember(task.id)
            if connection.as_json:
                print_json(task)
            else:
                say(task.id)
