"""Numbered lists on a real store with a worker made of words, and a client that checks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fakes.engine import CALLER, World
from fakes.faults import Faults
from fakes.stores import opened
from fakes.worker import FakeWorker
from taskyard.core.ids import GroupName
from taskyard.core.lists import ListKey, ListStatus
from taskyard.core.tasks import Command, Task, TaskSpec
from taskyard.services.lists import Lists

KEY = ListKey(CALLER.workspace, GroupName("list"))
LIMIT = 2
RANK = {status: rank for rank, status in enumerate(ListStatus)}


NUMBER = "NUMBER"
"""The variable that tells tasks their numbers."""


def number_of(task: Task) -> int:
    """The number that a task was told."""
    assert isinstance(task.spec.work, Command)
    number = task.spec.work.env[NUMBER]
    assert isinstance(number, str)
    return int(number)


class ListWorld:
    """What a test works with; whatever it looks at has to follow from what it saw before."""

    def __init__(self, world: World, lists: Lists) -> None:
        self.world = world
        self.lists = lists
        self.store: Any = world.store
        self.answered: set[int] = set()
        """Numbers of creates that were answered."""
        self.gone: set[int] = set()
        """Numbers that must never be shown again."""
        self.excused: set[int] = set()
        """Numbers that may be missing, since somebody tried to take them off or killed them."""
        self.before: dict[int, ListStatus] = {}

    async def open(self) -> None:
        """See that the list exists."""
        await self.lists.open(KEY, "me", most=10, concurrency_limit=LIMIT)

    async def add(self) -> int:
        """A new task's number."""
        spec = TaskSpec(work=Command(argv=("true",)), group=KEY.group)
        entry = await self.lists.add(CALLER, KEY, spec, NUMBER)
        assert entry.number not in self.answered
        self.answered.add(entry.number)
        return entry.number

    async def look(self) -> dict[int, ListStatus]:
        """The list, checked against everything known."""
        answered, gone = set(self.answered), set(self.gone)
        shown = await self.lists.look(KEY)
        now = {number: entry.status for number, entry in shown.entries.items()}
        self.check(now, answered, gone)
        return now

    def check(
        self, now: dict[int, ListStatus], answered: set[int] | None = None, gone: Any = None
    ) -> None:
        """Whether these statuses are legal."""
        assert list(now) == sorted(now)
        assert not set(now) & (self.gone if gone is None else gone)
        missing = (self.answered if answered is None else answered) - now.keys() - self.gone
        assert missing <= self.excused, f"missing: {missing}"
        for number, status in now.items():
            was = self.before.get(number, ListStatus.QUEUED)
            assert RANK[status] >= RANK[was], f"{number} went back from {was} to {status}"
            assert not was.is_finished or status is was
        vanished = self.before.keys() - now.keys()
        assert vanished <= self.excused | self.gone
        self.gone |= vanished
        self.before = now


@asynccontextmanager
async def listing(directory: Path, faults: Faults | None = None) -> AsyncIterator[ListWorld]:
    """Lists in an engine that runs; ``faults`` are those of the list store."""
    store = await opened(directory)
    try:
        world = World(store)
        part = store.lists if faults is None else faults.wrap(store.lists)
        lists = Lists(part, world.tasks, world.dispatch, world.bus, world.clock)
        async with world.running():
            worker = FakeWorker(world, "w1", 4, None)
            world.transport.workers[worker.id] = worker
            await worker.join()
            yield ListWorld(world, lists)
    finally:
        await store.close()
