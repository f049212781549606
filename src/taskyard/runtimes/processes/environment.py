"""The environment of a command: little, and nothing of the server's."""

from collections.abc import Mapping
from typing import Final

MARK: Final = "TASKYARD_ATTEMPT_ID"
"""Variable that tells which attempt a process belongs to."""


DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""``PATH`` of commands that bring none, and where the supervisor looks for its own tools."""


def environment(
    *,
    task_id: str,
    attempt_id: str,
    number: int,
    group: str,
    workspace: str,
    home: str,
    user: str | None,
    given: Mapping[str, str],
) -> dict[str, str]:
    """All variables of a command; what the task gives wins, but for the attempt's own id."""
    variables = {
        "PATH": DEFAULT_PATH,
        "HOME": home,
        "LANG": "C.UTF-8",
        "TASKYARD_TASK_ID": task_id,
        "TASKYARD_ATTEMPT": str(number),
        "TASKYARD_GROUP": group,
        "TASKYARD_WORKSPACE": workspace,
    }
    if user is not None and not user.isdecimal():
        variables |= {"USER": user, "LOGNAME": user}
    variables |= given
    variables[MARK] = attempt_id
    return variables
