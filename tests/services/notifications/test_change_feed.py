"""What all control planes commit is announced on each of them: once, in order, however woken."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from fakes.change_log import MemoryChangeLog
from taskyard.core.changes import Cached, Change, Outdated
from taskyard.core.ids import GroupName, PlaneId, TaskId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.states import TaskState
from taskyard.ports.changes import Counts
from taskyard.server.clock import SystemClock
from taskyard.services.notifications import change_feed
from taskyard.services.notifications.bus import Bus, Gap
from taskyard.services.notifications.cache_refresh import CacheRefresh
from taskyard.services.notifications.change_feed import ChangeFeed
from taskyard.transport.local.messages import Message, local_message_hub

pytestmark = pytest.mark.anyio
DEADLINE_S = 10.0


def change(number: int, task: str = "t1") -> Change:
    """A change with this ``seq``."""
    return Change(
        "started",
        Instant(number),
        TaskId(task),
        number,
        WorkspaceName("main"),
        GroupName("g"),
        TaskState.RUNNING,
    )


class Plane:
    """What one control plane hears."""

    def __init__(self, log: MemoryChangeLog, messages: object = None) -> None:
        self.log = log
        self.clock = SystemClock()
        self.bus = Bus(fed=True)
        self.caches = CacheRefresh(self.clock)
        self.counted: list[Counts] = []
        self.heard: list[int] = []
        self.outdated: list[str | None] = []
        self.missed = 0
        self.feed = ChangeFeed(
            log,
            self.bus,
            self.caches,
            self.clock,
            messages,  # type: ignore[arg-type]  # a plane of a hub, or none
            self.counted.append,
        )
        self.bus.listen(self._hear, self._miss)
        self.caches.forgets(Cached.TOKEN, self.outdated.append)

    def commit(self, *changes: Change, outdated: tuple[Outdated, ...] = ()) -> None:
        """This plane commits."""
        self.log.commit(*changes, outdated=outdated)
        self.bus.publish(changes)
        self.feed.committed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what is sure to come."""
        with anyio.fail_after(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - whatever it is that the test waits for
                await anyio.sleep(0.001)

    async def until_heard(self, numbers: Sequence[int]) -> None:
        """Wait until exactly these were heard."""
        await self.until(lambda: len(self.heard) >= len(numbers))
        assert self.heard == list(numbers)

    def _hear(self, changes: Sequence[Change]) -> None:
        self.heard += [one.seq for one in changes]

    def _miss(self) -> None:
        self.missed += 1


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
def log() -> MemoryChangeLog:
    """An empty one."""
    return MemoryChangeLog()


@asynccontextmanager
async def running(*planes: Plane) -> AsyncIterator[None]:
    """Planes whose feeds run."""
    async with anyio.create_task_group() as tasks:
        for one in planes:
            await one.feed.start()
            tasks.start_soon(one.feed.run)
        yield
        tasks.cancel_scope.cancel()


async def test_own_changes_are_announced_once_and_by_the_feed(log: MemoryChangeLog) -> None:
    """Whoever commits publishes as ever, and nothing comes of it."""
    plane = Plane(log)
    async with running(plane):
        for number in range(1, 51):
            plane.commit(change(number))
        assert plane.heard == []
        await plane.until_heard(range(1, 51))
    assert plane.missed == 0


async def test_others_changes_are_announced_in_the_order_of_the_log(log: MemoryChangeLog) -> None:
    """On every plane the same, though both write."""
    async with local_message_hub() as hub:
        first = Plane(log, hub.plane(PlaneId("a")))
        second = Plane(log, hub.plane(PlaneId("b")))
        async with running(first, second):
            for number in range(1, 101):
                (first if number % 3 else second).commit(change(number))
                if number % 10 == 0:
                    await anyio.sleep(0.001)
            await first.until_heard(range(1, 101))
            await second.until_heard(range(1, 101))


@pytest.mark.parametrize("seed", range(4))
async def test_lost_doubled_and_late_messages_change_nothing(
    log: MemoryChangeLog, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But the time it takes."""
    monkeypatch.setattr(change_feed, "LOOK_EVERY_S", 0.05)
    dice = random.Random(seed)

    def deliveries(message: Message) -> Sequence[float]:
        del message
        return [dice.random() * 0.02 for _ in range(dice.choice([0, 0, 1, 2, 3]))]

    async with local_message_hub() as hub:
        hub.deliveries = deliveries
        planes = [Plane(log, hub.plane(PlaneId(name))) for name in "abc"]
        async with running(*planes):
            for number in range(1, 201):
                dice.choice(planes).commit(change(number))
                if dice.random() < 0.1:
                    await anyio.sleep(dice.random() * 0.01)
            for one in planes:
                await one.until_heard(range(1, 201))
        assert {one.missed for one in planes} == {0}


async def test_a_plane_that_is_cut_off_looks_by_itself(log: MemoryChangeLog) -> None:
    """Within a second, and what was committed meanwhile is not told twice when it is back."""
    async with local_message_hub() as hub:
        alone = hub.plane(PlaneId("a"))
        first, second = Plane(log, alone), Plane(log, hub.plane(PlaneId("b")))
        async with running(first, second):
            alone.is_cut = True
            second.commit(change(1))
            with anyio.fail_after(1.0):
                await first.until_heard([1])
            alone.is_cut = False
            second.commit(change(2))
            await first.until_heard([1, 2])


async def test_without_messages_it_looks_twice_a_second(log: MemoryChangeLog) -> None:
    """And not without end."""
    plane = Plane(log)
    async with running(plane):
        log.commit(change(1))
        with anyio.fail_after(1.0):
            await plane.until_heard([1])
        before = log.reads
        await anyio.sleep(0.6)
        assert log.reads - before <= 3


async def test_who_fell_behind_looks_at_everything(log: MemoryChangeLog) -> None:
    """Counts begin again at the same place; nothing that is still there is told as news."""
    plane = Plane(log)
    await plane.feed.start()
    for number in range(1, 11):
        log.commit(change(number))
    log.drop(5)
    log.counts = {(WorkspaceName("main"), TaskState.RUNNING): 10}
    event = plane.bus.changed(TaskId("t9"))
    async with anyio.create_task_group() as tasks, plane.bus.subscribe() as subscription:
        tasks.start_soon(plane.feed.run)
        with anyio.fail_after(DEADLINE_S):
            assert await anext(subscription) == Gap(1)
            assert event.is_set()
            plane.commit(change(11))
            assert await anext(subscription) == change(11)
        assert plane.heard == [11]
        tasks.cancel_scope.cancel()
    assert plane.missed == 1
    assert plane.outdated == [None]
    assert [sum(counts.values()) for counts in plane.counted] == [1, 10]


async def test_a_database_that_was_away_is_looked_at_anew(log: MemoryChangeLog) -> None:
    """As another may have taken its place; until then nothing is announced, and it says so."""
    plane = Plane(log)
    async with running(plane):
        plane.commit(change(1))
        await plane.until_heard([1])
        log.is_away = True
        plane.commit(change(2))
        await plane.until(lambda: plane.feed.is_behind)
        log.is_away = False
        await plane.until(lambda: not plane.feed.is_behind)
        plane.commit(change(3))
        await plane.until_heard([1, 3])
    assert plane.missed == 1
    assert plane.outdated == [None]


async def test_a_commit_that_cannot_be_read_costs_a_look(log: MemoryChangeLog) -> None:
    """And what comes behind it is announced."""
    plane = Plane(log)
    async with running(plane):
        plane.commit(change(1))
        log.damage()
        await plane.until(lambda: bool(plane.missed))
        plane.commit(change(2))
        await plane.until_heard([2])


async def test_caches_are_outdated_before_the_change_is_told(log: MemoryChangeLog) -> None:
    """Whoever looks because of a change must not find what is outdated."""
    plane = Plane(log)
    order: list[str] = []
    plane.bus.listen(lambda changes: order.append(f"change {len(changes)}"))
    plane.caches.forgets(Cached.TOKEN, lambda key: order.append(f"token {key}"))
    async with running(plane):
        plane.commit(change(1), outdated=(Outdated(Cached.TOKEN, "t"), Outdated("new", "x")))
        await plane.until_heard([1])
    assert order == ["token t", "change 1"]


class Told:
    """Counts what a plane tells the others."""

    def __init__(self) -> None:
        self.count = 0

    def publish(self, what: str, payload: bytes) -> None:
        """One more."""
        assert (what, payload) == (change_feed.WAKE, b"")
        self.count += 1

    def listen(self, what: str, listener: object) -> None:
        """Nobody else is there."""


async def test_many_commits_take_few_messages(log: MemoryChangeLog) -> None:
    """One at once, and another one for all that came in the moment after it."""
    told = Told()
    plane = Plane(log, told)
    for number in range(1, 101):
        plane.commit(change(number))
    assert told.count == 1
    await plane.until(lambda: told.count > 1)
    assert told.count == 2
    await plane.until(lambda: plane.feed._telling is None)
    plane.commit(change(101))
    assert told.count == 3


async def test_whoever_begins_to_wait_hears_at_once(
    log: MemoryChangeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However seldom this plane looks while nobody does."""
    monkeypatch.setattr(change_feed, "PAUSE_S", 3 * DEADLINE_S)
    plane = Plane(log)
    async with running(plane):
        await plane.until(lambda: plane.feed.behind_s < 0.1)
        plane.commit(change(1))
        event = plane.bus.changed(TaskId("t1"))
        await plane.until_heard([1])
        assert event.is_set()
        plane.commit(change(2))
        async with plane.bus.subscribe(workspace=WorkspaceName("main")):
            await plane.until_heard([1, 2])


async def test_a_bus_knows_whether_anybody_waits() -> None:
    """Whichever way."""
    bus = Bus(fed=True)
    calls = False
    bus.awaited_while(lambda: calls)
    found = [bus.is_awaited]
    event = bus.changed(TaskId("t1"))
    found.append(bus.is_awaited)
    del event
    found.append(bus.is_awaited)
    async with bus.subscribe(task_id=TaskId("t1")):
        found.append(bus.is_awaited)
    found.append(bus.is_awaited)
    calls = True
    found.append(bus.is_awaited)
    assert found == [False, True, False, True, False, True]


async def test_what_is_old_is_pruned(log: MemoryChangeLog) -> None:
    """Also after trouble."""
    plane = Plane(log)
    log.commit(change(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plane.feed.prune)
        await plane.until(lambda: not log.commits)
        tasks.cancel_scope.cancel()
