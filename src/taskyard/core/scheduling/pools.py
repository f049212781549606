"""Pools: which workers the containers of a group may go to, and how many at once.

A container task goes to a worker of the first pool that matches its group and has a usable worker;
usable is one that is here, takes tasks, and has its engine. A pool at its limit makes its tasks
wait, and does not pass them on. Without any pools every worker will do.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from taskyard.core.ids import GroupName, WorkerId
from taskyard.core.scheduling.policies import Policy, static_part

POOLED_RUNTIME: Final = "container"
"""Pools concern what this runtime executes, and nothing else."""
_REMEMBERED: Final = 4096
"""Groups whose pools are remembered."""

PoolIndex = int
"""Position of a pool in the configuration."""


class Pool(Struct, frozen=True):
    """One pool as configured."""

    match: str
    """Regular expression that a group has to match from its start; empty matches all."""
    workers: frozenset[WorkerId]
    max_running: int | None = None
    """Attempts it may run at once; no limit when None."""


class PlacementClass(NamedTuple):
    """Tasks that share the answer to the question which workers they may go to at all."""

    runtime: str
    pools: tuple[PoolIndex, ...] | None = None
    """Pools that match, first to last; None if pools do not concern it."""
    where: Policy | None = None
    """The static part of its policy."""
    apart: bool = False
    """Whether there is a policy, which takes steps to find out about."""


class Pools:
    """All pools, and how much each of them runs."""

    def __init__(self, pools: Sequence[Pool] = ()) -> None:
        """Raises ``re.error`` for a pattern that is none."""
        self._pools = tuple(pools)
        self._patterns = [re.compile(pool.match) for pool in pools]
        self._running = [0] * len(pools)
        self._matching: dict[GroupName, tuple[PoolIndex, ...]] = {}
        self._plain: dict[str, PlacementClass] = {}
        """Those of tasks that neither pools nor policies concern, by runtime."""

    def __getitem__(self, index: PoolIndex) -> Pool:
        """One pool."""
        return self._pools[index]

    def __iter__(self) -> Iterator[Pool]:
        """All of them, in the order in which they are asked."""
        return iter(self._pools)

    def placement_class(
        self, group: GroupName, runtime: str, policy: Policy | None = None
    ) -> PlacementClass:
        """Where tasks of this group, runtime and policy belong."""
        if policy is None and (runtime != POOLED_RUNTIME or not self._pools):
            # Asked several times for each head in each round.
            plain = self._plain.get(runtime)
            if plain is None:
                plain = self._plain[runtime] = PlacementClass(runtime)
            return plain
        where, apart = (None, False) if policy is None else (static_part(policy), True)
        if runtime != POOLED_RUNTIME or not self._pools:
            return PlacementClass(runtime, None, where, apart)
        found = self._matching.get(group)
        if found is None:
            if len(self._matching) >= _REMEMBERED:
                self._matching.clear()
            found = tuple(
                index for index, pattern in enumerate(self._patterns) if pattern.match(group)
            )
            self._matching[group] = found
        return PlacementClass(runtime, found, where, apart)

    def choose(
        self, placement_class: PlacementClass, usable: Callable[[WorkerId], bool]
    ) -> PoolIndex | None:
        """The first pool of a placement class that has a usable worker; None if none has."""
        for index in placement_class.pools or ():
            if any(usable(worker) for worker in self._pools[index].workers):
                return index
        return None

    def of(self, group: GroupName, runtime: str, worker_id: WorkerId) -> PoolIndex | None:
        """The pool that an attempt on this worker counts for; None if it counts for none.

        As a pool is chosen by its usable workers, the first that has this one is the one chosen.
        """
        for index in self.placement_class(group, runtime).pools or ():
            if worker_id in self._pools[index].workers:
                return index
        return None

    def began(self, index: PoolIndex | None) -> None:
        """A pool has one more attempt."""
        if index is not None:
            self._running[index] += 1

    def ended(self, index: PoolIndex | None) -> None:
        """A pool has one attempt less."""
        if index is not None:
            self._running[index] -= 1

    def running(self, index: PoolIndex) -> int:
        """Attempts a pool has now."""
        return self._running[index]

    def is_full(self, index: PoolIndex | None) -> bool:
        """Whether a pool may not have another attempt."""
        if index is None:
            return False
        limit = self._pools[index].max_running
        return limit is not None and self._running[index] >= limit
