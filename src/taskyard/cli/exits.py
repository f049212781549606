"""Exit codes of the command line, for scripts. Those from 64 to 78 are from sysexits.h.

``taskyard run`` exits as its command does: with its code, 128 + n when it died of signal n, 124
when it ran out of time, 126 and 127 when it could not be started or found, 137 when it ran out of
memory, and 125 for any trouble of Taskyard's own.
"""

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""What was asked for did not come out well: a task failed, a state did not allow it."""
USAGE: Final = 2
"""The command line itself is wrong."""
INVALID: Final = 65
"""The server refused the input."""
NOT_FOUND: Final = 66
"""There is no such task, token, user … in this workspace."""
UNREACHABLE: Final = 69
"""No server was found, or it did not answer."""
OUTPUT: Final = 74
"""Our own output cannot be written, such as on a full disk."""
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
"""The command of ``run`` used more memory than it may, or was killed outright."""
BROKEN_PIPE: Final = 141
"""Whoever read the output went away."""
