"""What the shepherd and its clients have to agree on. Standard library only."""

from typing import Final

PROTOCOL: Final = 1
"""Rises with every incompatible change of the messages."""

SOCKET: Final = "socket"
LOCK: Final = "lock"
LOG: Final = "log"

READY: Final = 0
"""Exit status of the launching process: a shepherd is listening."""
TAKEN: Final = 3
"""Exit status of the launching process: another shepherd holds the directory."""

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
"""Longest request; the largest task that can be submitted fits several times."""
