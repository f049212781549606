"""All workers that are here, what is free on each, and indexes to find room without a scan."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from taskyard.core.ids import WorkerId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.resources import Resources
from taskyard.core.scheduling.eligible_workers import EligibleWorkers, Selector
from taskyard.core.scheduling.placement import Room
from taskyard.core.scheduling.policies import most_per_host
from taskyard.core.scheduling.queues import QueueKey
from taskyard.core.scheduling.requirements import ReadyTask
from taskyard.core.scheduling.rule_budget import ENDLESS, Budget
from taskyard.core.scheduling.rule_results import RuleResults
from taskyard.core.scheduling.worker_index import TooManyRefused, WorkerIndex

__all__ = ["Fleet", "MetadataOfAll", "Selector"]

_PATIENCE: Final = 32
"""Workers with room that a policy may refuse before an index is made for it."""
_LADDERS: Final = 64
"""Indexes kept. For another one, whoever has most of them loses the one not asked for longest."""
_INDEXING: Final = 8
"""Steps that it takes to put a worker in an index or to leave it out."""
_MAKING: Final = 150
"""Steps that it takes to make an index, and to give up another one for it."""


class MetadataOfAll(Mapping[WorkerId, Mapping[str, str]]):
    """The metadata of some workers, by their names, always as it is now."""

    def __init__(self, rooms: Mapping[WorkerId, Room]) -> None:
        self._rooms = rooms

    def __getitem__(self, worker_id: WorkerId) -> Mapping[str, str]:
        return self._rooms[worker_id].metadata

    def __iter__(self) -> Iterator[WorkerId]:
        return iter(self._rooms)

    def __len__(self) -> int:
        return len(self._rooms)


class Fleet:
    """Workers by their ids. Changed as they come, go, and are given attempts."""

    def __init__(self) -> None:
        self.rooms: dict[WorkerId, Room] = {}
        self._rule_results = RuleResults(MetadataOfAll(self.rooms))
        self._leaving: set[WorkerId] = set()
        self._counts: dict[WorkerId, Counter[QueueKey]] = {}
        self._eligible: OrderedDict[Selector, EligibleWorkers] = OrderedDict()

    @classmethod
    def of(
        cls, rooms: Iterable[Room], running: Iterable[tuple[WorkerId, QueueKey]] = ()
    ) -> "Fleet":
        """These workers, on which attempts of these groups run already."""
        fleet = cls()
        for room in rooms:
            fleet.put(room)
        for worker_id, key in running:
            fleet._counts[worker_id][key] += 1
        return fleet

    def put(self, room: Room) -> None:
        """Add a worker, or change what is known of it; what it runs stays counted."""
        before = self.rooms.get(room.worker_id)
        self.rooms[room.worker_id] = room
        self._counts.setdefault(room.worker_id, Counter())
        if room.leaves_at is None:
            self._leaving.discard(room.worker_id)
        else:
            self._leaving.add(room.worker_id)
        if before is None or before.description != room.description:
            self._rule_results.describe(room.worker_id)
        if before is None or before.metadata != room.metadata:
            self._forget_wide()
        for index in self._eligible.values():
            index.mark_uncertain(room.worker_id)

    def remove(self, worker_id: WorkerId) -> None:
        """A worker is gone; unknown ones are ignored."""
        if self.rooms.pop(worker_id, None) is not None:
            self._forget_wide()
        self._leaving.discard(worker_id)
        self._rule_results.forget(worker_id)
        self._counts.pop(worker_id, None)
        for index in self._eligible.values():
            index.remove(worker_id)

    @property
    def has_leaving(self) -> bool:
        """Whether it matters how long a task may run, as workers are to leave."""
        return bool(self._leaving)

    def take(self, worker_id: WorkerId, key: QueueKey, granted: Resources) -> None:
        """A worker that is here has one more attempt."""
        room = self.rooms[worker_id].minus(granted)
        self._counts[worker_id][key] += 1
        self._change(room, key)

    def give_back(self, worker_id: WorkerId, key: QueueKey, granted: Resources) -> None:
        """A worker that is here has one attempt less."""
        room = self.rooms[worker_id].plus(granted)
        counts = self._counts[worker_id]
        counts[key] -= 1
        if counts[key] <= 0:
            del counts[key]
        self._change(room, key)

    def count(self, worker_id: WorkerId, key: QueueKey) -> int:
        """How many attempts of a group a worker has."""
        return self._counts[worker_id][key]

    def usable(self, worker_id: WorkerId, runtime: str) -> bool:
        """Whether a worker is here, takes tasks, and has this runtime now."""
        room = self.rooms.get(worker_id)
        return room is not None and room.accepting and runtime in room.runtimes

    def worker_indexes(
        self, selector: Selector, budget: Budget = ENDLESS
    ) -> tuple[WorkerIndex, WorkerIndex]:
        """The workers in question: by what is free on them, and by what they have in all.

        Raises :class:`OutOfSteps` if that takes more than ``budget`` has; the
        next time goes on from there.
        """
        index = self._eligible.get(selector)
        if index is None:
            where, owner = selector.where, None
            if not _is_plain(selector):
                budget.spend(_MAKING)
                owner = budget.owner
            is_wide = where is not None and self._rule_results.is_wide(where, budget)
            self._make_room(owner)
            index = self._eligible[selector] = EligibleWorkers(owner, self.rooms, is_wide=is_wide)
        else:
            self._eligible.move_to_end(selector)
        self._settle(selector, index, budget)
        return index.free, index.whole

    def is_settled(self, selector: Selector) -> bool:
        """Whether :meth:`worker_indexes` has nothing to find out."""
        index = self._eligible.get(selector)
        return index is not None and not index.doubtful

    def refusal(self, task: ReadyTask, worker_id: WorkerId, budget: Budget = ENDLESS) -> str | None:
        """Why a task's policy refuses a worker; None if it does not.

        Raises :class:`OutOfSteps`.
        """
        policy = task.requirements.policy
        if policy is None:
            return None
        count = self.count(worker_id, QueueKey(task.workspace, task.group))
        return self._rule_results.refusal(policy, self.rooms[worker_id], count, budget)

    def choose(
        self,
        task: ReadyTask,
        selector: Selector,
        now: Instant,
        kept: Mapping[WorkerId, int] | None = None,
        budget: Budget = ENDLESS,
    ) -> Room | None:
        """The least loaded of some workers with room for a task; None if there is none.

        ``kept`` names workers that are kept free for the task with this ``seq``. Raises
        :class:`OutOfSteps`.
        """
        requirements, seq = task.requirements, task.seq

        def accept(worker_id: WorkerId) -> bool:
            return (
                (not kept or kept.get(worker_id, seq) == seq)
                and self.rooms[worker_id].fits(requirements)
                and self.rooms[worker_id].stays_for(requirements, now)
                and self.refusal(task, worker_id, budget) is None
            )

        worker_index, patience = self.worker_indexes(selector, budget)[0], None
        limit = None if requirements.policy is None else most_per_host(requirements.policy)
        if limit is not None:
            # To index those below the limit costs a look at all of them; most have no need of it.
            selector = selector._replace(below=(QueueKey(task.workspace, task.group), limit))
            if selector in self._eligible:
                worker_index = self.worker_indexes(selector, budget)[0]
            else:
                patience = _PATIENCE
        try:
            found = worker_index.best(requirements.resources, accept, patience)
        except TooManyRefused:
            found = self.worker_indexes(selector, budget)[0].best(requirements.resources, accept)
        return None if found is None else self.rooms[found]

    def _make_room(self, owner: WorkspaceName | None) -> None:
        """Give up an index if there are too many with one more of this owner."""
        if len(self._eligible) < _LADDERS:
            return
        counts = Counter(index.owner for index in self._eligible.values())
        counts[owner] += 1
        most = max(counts.values())
        for selector, index in self._eligible.items():
            if counts[index.owner] == most:
                del self._eligible[selector]
                return

    def _settle(self, selector: Selector, index: EligibleWorkers, budget: Budget) -> None:
        """Bring an index up to date."""
        is_plain = _is_plain(selector)
        while index.doubtful:
            worker_id = next(iter(index.doubtful))
            room = self.rooms[worker_id]
            if not is_plain:
                budget.spend(_INDEXING)
            index.put(room, selected=self._selects(selector, room, budget))
        for worker_id in index.changed:
            index.free.put(self.rooms[worker_id])
        index.changed.clear()

    def _forget_wide(self) -> None:
        """Drop the indexes whose answers for one worker depend on what others are."""
        for selector in [one for one, index in self._eligible.items() if index.is_wide]:
            del self._eligible[selector]

    def _change(self, room: Room, key: QueueKey) -> None:
        self.rooms[room.worker_id] = room
        for selector, index in self._eligible.items():
            if selector.below is not None and selector.below[0] == key:
                index.mark_uncertain(room.worker_id)
            elif room.worker_id in index.free:
                index.changed[room.worker_id] = None

    def _selects(self, selector: Selector, room: Room, budget: Budget) -> bool:
        return (
            room.accepting
            and selector.runtime in room.runtimes
            and (selector.workers is None or room.worker_id in selector.workers)
            and (
                selector.where is None
                or self._rule_results.refusal(selector.where, room, 0, budget) is None
            )
            and (
                selector.below is None
                or self.count(room.worker_id, selector.below[0]) < selector.below[1]
            )
        )


def _is_plain(selector: Selector) -> bool:
    """Whether all tasks without a policy share it."""
    return selector.where is None and selector.below is None
