"""What is kept in memory is brought up to date when somebody else changed it."""

import anyio
import pytest

from fakes.clock import VirtualClock, settled
from taskyard.core.changes import Cached, Outdated
from taskyard.core.errors import Unavailable
from taskyard.services.notifications.cache_refresh import TROUBLE_PAUSE_S, CacheRefresh

pytestmark = pytest.mark.anyio


class Reader:
    """Remembers what it read."""

    def __init__(self) -> None:
        self.read: list[str | None] = []
        self.trouble: list[Exception] = []
        self.gate = anyio.Event()
        self.gate.set()

    async def __call__(self, key: str | None) -> None:
        """As it is called."""
        await self.gate.wait()
        if self.trouble:
            raise self.trouble.pop()
        self.read.append(key)


@pytest.fixture
def clock() -> VirtualClock:
    """Stands still unless it is moved."""
    return VirtualClock()


async def passed(clock: VirtualClock) -> None:
    """Let all pauses pass."""
    for _ in range(10):
        await settled()
        clock.advance(TROUBLE_PAUSE_S)
    await settled()


async def test_forgetting_is_done_at_once(clock: VirtualClock) -> None:
    """With the key; what nobody keeps is passed over; a failure costs nobody else."""
    caches, found = CacheRefresh(clock), list[str | None]()

    def fail(_key: str | None) -> None:
        raise RuntimeError

    caches.forgets(Cached.TOKEN, fail)
    caches.forgets(Cached.TOKEN, found.append)
    caches.outdated(Outdated(Cached.TOKEN, "t1"))
    caches.outdated(Outdated("of another release", "x"))
    caches.all_outdated()
    assert found == ["t1", None]


async def test_what_is_outdated_often_is_read_once(clock: VirtualClock) -> None:
    """And once more if that happens while it is read."""
    caches, reader = CacheRefresh(clock), Reader()
    caches.reads(Cached.LIST, reader)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caches.run)
        for _ in range(5):
            caches.outdated(Outdated(Cached.LIST, "a"))
        reader.gate = anyio.Event()
        await settled()
        caches.outdated(Outdated(Cached.LIST, "a"))
        caches.outdated(Outdated(Cached.LIST, "a"))
        reader.gate.set()
        await passed(clock)
        tasks.cancel_scope.cancel()
    assert reader.read == ["a", "a"]


async def test_trouble_is_no_end(clock: VirtualClock) -> None:
    """Of the store: it is read again after a pause. A defect is passed over."""
    caches, reader, other = CacheRefresh(clock), Reader(), Reader()
    caches.reads(Cached.LIST, reader)
    caches.reads(Cached.FUNCTIONS, other)
    reader.trouble, other.trouble = [Unavailable("away")], [RuntimeError()]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caches.run)
        caches.outdated(Outdated(Cached.LIST, "a"))
        caches.outdated(Outdated(Cached.FUNCTIONS))
        await passed(clock)
        assert (reader.read, other.read) == (["a"], [])
        caches.all_outdated()
        await passed(clock)
        tasks.cancel_scope.cancel()
    assert (reader.read, other.read) == (["a", None], [None])
