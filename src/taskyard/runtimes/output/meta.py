"""``meta.json`` of an attempt: the limit of its output, for readers. Standard library only."""

import json
import os
from collections.abc import Sequence
from typing import Final

META: Final = "meta.json"
_MODE: Final = 0o600
_LONGEST: Final = 4096
"""Far longer than any."""


def read_meta(directory: str, otherwise: int) -> tuple[int, tuple[int, int]]:
    """The limit that readers of the output know, ``otherwise`` if they know none; and how much of
    both streams was dropped.
    """
    try:
        with open(f"{directory}/{META}", "rb") as file:  # noqa: PTH123 - no pathlib in the supervisor
            meta = json.loads(file.read())
        limit = meta["log_limit_bytes"]
        out, err = meta.get("dropped_bytes", (0, 0))
    except (OSError, ValueError, LookupError, TypeError):
        return otherwise, (0, 0)
    if not isinstance(limit, int):
        return otherwise, (0, 0)
    return limit, (int(out), int(err))


def write_meta(directory: str, log_limit_bytes: int, dropped: Sequence[int] = (0, 0)) -> None:
    """Tell readers of the output where it stops, and how much of both streams was dropped.

    Raises ``OSError``.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    fd = os.open(f"{directory}/{META}", flags, _MODE)
    try:
        content = b'{"log_limit_bytes": %d' % log_limit_bytes
        if any(dropped):
            content += b', "dropped_bytes": [%d, %d]' % tuple(dropped)
        before = os.read(fd, _LONGEST)
        # Over what is there, and not shorter: whoever reads meanwhile finds one of both contents.
        content = content.ljust(len(before) - 2) + b"}\n"
        if content == before:
            # As in most directories that are used again.
            return
        length = os.pwrite(fd, content, 0)
        if length != max(len(content), len(before)):
            os.ftruncate(fd, length)
    finally:
        os.close(fd)
