"""The last task this user submitted, so that ``@last`` can stand for its id."""

import os
from pathlib import Path

from taskyard.cli.errors import UsageError

LAST = "@last"


def _path() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "taskyard" / "last-task"


def remember(task_id: str) -> None:
    """Store the id. If the home directory is not writable, there is just no ``@last``."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(task_id + "\n", "utf-8")
    except OSError:
        return


def task_id_of(text: str) -> str:
    """The id itself, or the last one for ``@last``. Raises :class:`UsageError` without one."""
    if text != LAST:
        return text
    try:
        last = _path().read_text("utf-8").strip()
    except OSError as error:
        raise UsageError("no task has been submitted yet", what_to_do="Give a task id.") from error
    if not last:
        raise UsageError("no task has been submitted yet", what_to_do="Give a task id.")
    return last
