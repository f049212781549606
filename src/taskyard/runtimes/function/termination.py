"""Asking what runs for a call to end: all that is there, and the function's own process last.

1. Whoever started the function's process kills what it leaves the moment it ends, and most such
   processes end at once when they are asked. So it is asked when the processes that the call has
   started are gone; or when most of the grace is over, if it handles the signal.
2. Of those, one that reads what another one writes waits for its turn, as in commands.
3. What is started meanwhile is not asked: it mostly is what a process does to clean up.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from taskyard.runtimes.function.containment import Tree
from taskyard.runtimes.processes.terminating import ask_to_end, readers

_OWN_TURN: Final = 0.8
"""The part of the grace after which the function's own process is asked in any case."""
_DRAIN_S: Final = 0.1
"""How long the end of its input is given to end a process that reads from another one."""


class Termination:
    """The grace of one call.

    Args:
        tree: of the processes that run for it.
        pid: of the function's own process.
        number: of the signal.
        grace_s: seconds until everything is killed.
        now: seconds of the monotonic clock, here and below.
    """

    def __init__(self, tree: Tree, pid: int, number: int, grace_s: float, now: float) -> None:
        self._tree = tree
        self._pid = pid
        self._number = number
        self._own_turn_at = now + _OWN_TURN * grace_s
        started = [one for one in tree.pids() if one != pid]
        self._started = set(started)
        self._waiting = dict.fromkeys(readers(started), now)
        ask_to_end([one for one in started if one not in self._waiting], number)

    def advance(self, now: float) -> bool:
        """Ask whose turn it is; whether everybody was asked. Blocks for a moment."""
        alive = self._started.intersection(self._tree.pids())
        if not alive or now >= self._own_turn_at:
            self._ask(alive.intersection(self._waiting))
            if not alive or _handles(self._pid, self._number):
                self._ask([self._pid])
            return True
        reading = readers(alive)
        self._waiting = {
            pid: now if pid in reading else since
            for pid, since in self._waiting.items()
            if pid in alive
        }
        self._ask([pid for pid, since in self._waiting.items() if now - since >= _DRAIN_S])
        return False

    def _ask(self, pids: Iterable[int]) -> None:
        due = list(pids)
        ask_to_end(due, self._number)
        for pid in due:
            self._waiting.pop(pid, None)


def _handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; False if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)
