"""The workers that are eligible for some tasks, indexed so that a search need not scan all."""

from collections.abc import Iterable
from typing import NamedTuple

from taskyard.core.ids import WorkerId, WorkspaceName
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import Policy
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.worker_index import WorkerIndex


class Selector(NamedTuple):
    """What makes workers eligible, regardless of what they have free."""

    runtime: str
    workers: frozenset[WorkerId] | None = None
    """Of a pool; None for all."""
    where: Policy | None = None
    """A static policy; None if there is none."""
    below: tuple[QueueKey, int] | None = None
    """A group, and how many attempts of it a worker may not have yet; None: no limit."""


class EligibleWorkers:
    """The workers of one selector. Changes are noted, and made up for when it is asked."""

    __slots__ = ("changed", "doubtful", "free", "is_wide", "owner", "whole")

    def __init__(
        self, owner: WorkspaceName | None, workers: Iterable[WorkerId], *, is_wide: bool
    ) -> None:
        self.owner = owner
        """Who asked for it first."""
        self.free = WorkerIndex()
        """By what is free."""
        self.whole = WorkerIndex()
        """By what there is in all."""
        self.doubtful = dict.fromkeys(workers)
        """Workers that may be in question or not."""
        self.changed: dict[WorkerId, None] = {}
        """Workers in question that have another amount free."""
        self.is_wide = is_wide
        """Whether its answer for one worker depends on what others are."""

    def mark_uncertain(self, worker_id: WorkerId) -> None:
        """It may be in question now, or not any more."""
        self.doubtful[worker_id] = None

    def put(self, room: Room, *, selected: bool) -> None:
        """Resolve an uncertain worker."""
        if selected:
            self.free.put(room)
            self.whole.put(room.emptied)
        else:
            self.free.remove(room.worker_id)
            self.whole.remove(room.worker_id)
        self.doubtful.pop(room.worker_id, None)
        self.changed.pop(room.worker_id, None)

    def remove(self, worker_id: WorkerId) -> None:
        """A worker is gone."""
        self.free.remove(worker_id)
        self.whole.remove(worker_id)
        self.doubtful.pop(worker_id, None)
        self.changed.pop(worker_id, None)
