"""Exit status of the command line, for scripts. Those from 64 to 78 are from sysexits.h.

``taskyard run`` exits as its command does: with its code, 128 + n when it died of signal n, 124
when it ran out of time, 126 and 127 when it could not be started or found, 137 when it ran out of
memory, and 125 when Taskyard itself fails.
"""

import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskyard.sdk.models import Exit, Task

OK: Final = 0
FAILED: Final = 1
"""The request failed: a task failed, or its state did not allow it."""
USAGE: Final = 2
"""The command line itself is wrong."""
INVALID: Final = 65
"""The server refused the input."""
NOT_FOUND: Final = 66
"""The task, token, user … does not exist in this workspace."""
UNREACHABLE: Final = 69
"""No server was found, or it did not answer."""
OUTPUT: Final = 74
"""Standard output cannot be written, such as on a full disk."""
TRY_AGAIN: Final = 75
"""Overloaded, stopping, out of disk, or not ended in time: the same may work later."""
NOT_ALLOWED: Final = 77
"""No valid credential, or its role is too low."""
TIMED_OUT: Final = 124
"""The command of ``run`` ran out of time."""
TROUBLE: Final = 125
"""Taskyard itself failed."""
NOT_EXECUTABLE: Final = 126
"""The command of ``run`` could not be started."""
COMMAND_NOT_FOUND: Final = 127
"""The command of ``run`` does not exist."""
INTERRUPTED: Final = 130
"""Ctrl-C."""
OUT_OF_MEMORY: Final = 137
"""The command of ``run`` used more memory than allowed, or was killed with SIGKILL."""
BROKEN_PIPE: Final = 141
"""The reader of our output closed the pipe."""

_PHRASES_FOR_MISSING: Final = ("not found", "no such file", "does not exist", "no such program")


def of_task(last: "Exit | None", task: "Task") -> int:
    """The status of ``taskyard run``; ``last`` is None if the task ended without an attempt."""
    reason = (last.reason if last else None) or task.reason
    if task.state == "succeeded":
        return OK
    if reason == "timeout":
        return TIMED_OUT
    if reason == "out_of_memory":
        return OUT_OF_MEMORY
    if reason == "start_failed":
        message = ((last.message if last else None) or task.message or "").lower()
        missing = any(words in message for words in _PHRASES_FOR_MISSING)
        missing = missing and "directory" not in message.replace("file or directory", "")
        return COMMAND_NOT_FOUND if missing else NOT_EXECUTABLE
    if last is not None and last.signal is not None:
        from taskyard.core.signals import signal_number  # noqa: PLC0415 - 'version' does without

        return 128 + (signal_number(last.signal) or signal.SIGKILL)
    if last is not None and last.exit_code is not None:
        return last.exit_code or TROUBLE
    if task.state == "cancelled":
        return OUT_OF_MEMORY
    return TROUBLE
