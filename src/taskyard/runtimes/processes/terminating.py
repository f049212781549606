"""Asking processes to end: one signal to each, and no reader before the one it reads from.

A signal to the whole of ``program | cat`` ends ``cat`` at once, and what the program still says
while it cleans up has nowhere to go. So a process that reads what another one of the same tree
writes waits for its turn: it mostly ends by itself at the end of its input.
"""

import contextlib
import os
import signal
from collections.abc import Collection, Iterable


def ask_to_end(pids: Iterable[int], number: int) -> None:
    """Send a signal to processes; those that are gone, or not ours to signal, are ignored."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            # One that is stopped would neither handle the signal nor die of it.
            os.kill(pid, signal.SIGCONT)


def readers(tree: Collection[int]) -> set[int]:
    """The processes whose standard input is a pipe that another one has as an output.

    None if all of them are, because then none could come first.
    """
    if len(tree) < 2:
        return set()
    written: dict[str, set[int]] = {}
    for pid in tree:
        for number in (1, 2):
            if pipe := _pipe(pid, number):
                written.setdefault(pipe, set()).add(pid)
    found = {pid for pid in tree if (pipe := _pipe(pid, 0)) and written.get(pipe, {pid}) - {pid}}
    return found if len(found) < len(tree) else set()


def _pipe(pid: int, number: int) -> str:
    """What tells the pipe behind a descriptor from others; empty if there is none."""
    try:
        target = os.readlink(f"/proc/{pid}/fd/{number}")  # noqa: PTH115 - no pathlib here
    except OSError:
        return ""
    return target if target.startswith("pipe:") else ""
