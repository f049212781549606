"""What the supervisor and its clients have to agree on. Standard library only."""

from typing import Final

PROTOCOL: Final = 1
"""Rises with every incompatible change of the messages."""

DIRECTORY: Final = "shepherd"  # kept: commands of earlier releases go on in there
"""Of the supervisor, in the data directory."""
SOCKET: Final = "socket"
LOCK: Final = "lock"
LOG: Final = "log"

READY: Final = 0
"""Exit status of the launching process: a supervisor is listening."""
TAKEN: Final = 3
"""Exit status of the launching process: another supervisor holds the directory."""

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
"""Longest request; the largest task that can be submitted fits several times."""
