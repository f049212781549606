"""``taskyard why``."""

from taskyard.cli.connection import Connection
from taskyard.cli.last_task import task_id_of
from taskyard.cli.output import clean, print_json, say


def why(
    task: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Tell why a task waits, or how it came to its end.

    Args:
        task: Id of the task; @last is the one submitted last.
        connection: Which server.
    """
    with connection.open() as client:
        answer = client.why(task_id_of(task))
    if connection.as_json:
        print_json(answer)
        return
    say(f"{answer.state}: {clean(answer.summary)}")
    for line in answer.story:
        say(f"  - {clean(line)}")
