"""What holds the processes of one attempt together, so that all of them can be found."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from taskyard.runtimes.processes.proc import Json


class Limits(NamedTuple):
    """What the processes of an attempt may use together; None: no limit."""

    cpu_millis: int | None = None
    memory_bytes: int | None = None
    pids: int | None = None
    cpus: str | None = None
    """Processors they are pinned to, such as ``2,3,7``."""
    memory_nodes: str | None = None
    """NUMA nodes their memory has to come from; only along with ``cpus``."""

    def names(self) -> list[str]:
        """The resources that are limited: ``cpu``, ``cpuset``, ``memory``, ``pids``."""
        given = {
            "cpu": self.cpu_millis,
            "cpuset": self.cpus,
            "memory": self.memory_bytes,
            "pids": self.pids,
        }
        return [name for name, value in given.items() if value is not None]


class Tree(Protocol):
    """All processes of one attempt, however they were forked."""

    method: str
    """``cgroup`` or ``session``, as in the kill report."""

    def record(self) -> Json:
        """What a later supervisor needs to find these processes again."""
        ...

    def prepare(self) -> None:
        """Make what is needed before :meth:`enter`. Raises ``OSError``; then nothing is left."""
        ...

    def enter(self) -> None:
        """Make what this process spawns now a part of the tree. Raises ``OSError``."""
        ...

    def leave(self) -> None:
        """End :meth:`enter`, also one that failed halfway. Raises ``OSError``."""
        ...

    def spawned(self, pid: int, start_ticks: int) -> None:
        """The main process was spawned."""
        ...

    def writes_to(self, pipes: Sequence[str]) -> None:
        """Only processes of the tree write to these pipes, named as in ``/proc``."""
        ...

    def limit(self) -> bool:
        """Apply the limits; False if the tree is above its memory limit already.

        Comes after the spawn: the supervisor itself must not be bound by them while it is inside.
        Raises ``OSError``.
        """
        ...

    def pids(self) -> list[int]:
        """Processes alive at this moment."""
        ...

    def is_empty(self) -> bool:
        """Whether no process is left; children that died have been waited for."""
        ...

    def kill(self) -> int:
        """Kill everything outright, without waiting; how many were alive."""
        ...

    def oom_kills(self) -> int:
        """How often the kernel killed one of them for memory."""
        ...

    def memory_peak(self) -> int | None:
        """Most bytes used at one time; None if nobody counted."""
        ...

    @property
    def name(self) -> str:
        """Tells it from the other trees of this supervisor."""
        ...

    def close(self) -> bool:
        """Give back what held the tree together; False while processes are in the way."""
        ...
