"""What a task's end means as an exit code of ``taskyard run``."""

import signal

from taskyard.cli import exits
from taskyard.core.signals import signal_number
from taskyard.sdk.models import Exit, Task

_WORDS_FOR_MISSING = ("not found", "no such file", "does not exist", "no such program")


def exit_code(last: Exit | None, task: Task) -> int:
    """The code for the last attempt's end; ``last`` is None if there never was an attempt."""
    reason = (last.reason if last else None) or task.reason
    if task.state == "succeeded":
        return exits.OK
    if reason == "timeout":
        return exits.TIMED_OUT
    if reason == "out_of_memory":
        return exits.OUT_OF_MEMORY
    if reason == "start_failed":
        message = ((last.message if last else None) or task.message or "").lower()
        missing = any(words in message for words in _WORDS_FOR_MISSING)
        missing = missing and "directory" not in message.replace("file or directory", "")
        return exits.COMMAND_NOT_FOUND if missing else exits.NOT_EXECUTABLE
    if last is not None and last.signal is not None:
        return 128 + (signal_number(last.signal) or signal.SIGKILL)
    if last is not None and last.exit_code is not None:
        return last.exit_code or exits.TROUBLE
    if task.state == "cancelled":
        return exits.OUT_OF_MEMORY
    return exits.TROUBLE


def sentence(task: Task) -> str:
    """How the task ended, for people."""
    words = f"task {task.id} {task.state}"
    if task.message:
        return f"{words}: {task.message}"
    return f"{words}: {task.reason}" if task.reason else words
