"""What a process of a sandbox is called out here: it has another pid in its own name space."""

import contextlib
import os
from typing import Final

_PIDS: Final = "NSpid:"


def seen_from_here(pid: int, parent: int) -> int | None:
    """The pid of a child of ``parent`` that has ``pid`` in the innermost of its name spaces.

    None if there is no such child: whatever a process says, nobody but its own children is found.
    """
    for child in _children(parent):
        if _innermost(child) == pid:
            return child
    return None


def _children(pid: int) -> list[int]:
    """Of all threads."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - a directory of the kernel
            path = f"/proc/{pid}/task/{thread}/children"
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
                found += [int(one) for one in file.read().split()]
    return found


def _innermost(pid: int) -> int | None:
    with (
        contextlib.suppress(OSError, ValueError),
        open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file,  # noqa: PTH123 - as above
    ):
        for line in file:
            if line.startswith(_PIDS):
                return int(line.split()[-1])
    return None
