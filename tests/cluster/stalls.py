"""How long the machine kept those from running who wanted to."""

import contextlib
from collections.abc import Sequence
from pathlib import Path


class Stalls:
    """What threads waited for a processor from now on.

    Args:
        chains: processes that wait for each other, such as a server and its store's; of several
            such chains nobody knows which one counts.
    """

    def __init__(self, chains: Sequence[Sequence[int]]) -> None:
        self._chains = chains
        self._before = {pid: _waited(pid) for chain in chains for pid in chain}

    def longest_s(self) -> float:
        """How long the slowest chain has waited; 0 where the kernel does not tell."""
        return max(sum(self._since(pid) for pid in chain) for chain in self._chains) / 1e9

    def _since(self, pid: int) -> int:
        before = self._before[pid]
        return max((at - before.get(one, 0) for one, at in _waited(pid).items()), default=0)


def _waited(pid: int) -> dict[str, int]:
    """Nanoseconds by thread."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):
            found[thread.parent.name] = int(thread.read_text().split()[1])
    return found
