"""``taskyard wait``."""

import time

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import note, print_json, say
from taskyard.cli.quantities import seconds
from taskyard.cli.task_view import describe_end
from taskyard.sdk.models import Task


def wait(
    *tasks: str,
    timeout: str | None = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Wait until tasks have ended: exit 0 when all succeeded, 1 when not, 75 when out of time.

    Args:
        tasks: Ids of tasks; the one submitted last when there is none.
        timeout: How long to wait for all of them, such as 5m.
        connection: Which server.
    """
    ids = [task_id_of(task) for task in tasks or ("@last",)]
    deadline = None if timeout is None else time.monotonic() + seconds(timeout, "--timeout")
    found: list[Task] = []
    with connection.open() as client:
        for task_id in ids:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            found.append(client.wait(task_id, left))
    if connection.as_json:
        print_json(found[0] if len(found) == 1 else found)
    else:
        for task in found:
            say(describe_end(task))
    if any(not task.ended for task in found):
        note("taskyard: out of time; not all have ended")
        return exit_status.TRY_AGAIN
    return (
        exit_status.OK if all(task.state == "succeeded" for task in found) else exit_status.FAILED
    )
