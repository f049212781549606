"""Whether the disk that output is written to is nearly full."""

import os
from typing import Final

FLOOR_BYTES: Final = 8 << 20
"""With less free than this, output is cut: what ends, kills and deletes need must be left."""
SMALLEST_SHARE: Final = 16
"""On a small file system the floor is this part of it (one in so many)."""
NEAR: Final = 8
"""Room, in floors, from which on the disk is looked at more often."""
SLACK_BYTES: Final = 64 << 10
"""Room above what there is when streams are cut: readers may be a little ahead of who cuts, and
who has said nothing yet can still say why it fails."""


def room(directory: str) -> float:
    """What is free below a directory, in floors: below 1 output has to be cut.

    Raises ``OSError``.
    """
    whole = os.statvfs(directory)
    size = whole.f_frsize
    floor = min(FLOOR_BYTES, whole.f_blocks * size // SMALLEST_SHARE)
    return whole.f_bavail * size / max(1, floor)


def cut_at(limit_bytes: int, kept_bytes: int) -> int:
    """Where streams are cut that hold at most ``kept_bytes`` now, and had another limit."""
    return min(limit_bytes, kept_bytes + SLACK_BYTES)
