"""Leadership: what only a leader does runs on one plane at a time, from a load to a drop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from fakes.clock import VirtualClock, settled
from fakes.leadership import MemoryLeadership
from taskyard.core.errors import Unavailable
from taskyard.core.ids import PlaneId, Term
from taskyard.core.leadership import HOLD_S, LEAD_S, Hold, claimed
from taskyard.ports.leadership import Claimed, Plane
from taskyard.services.leadership import NEVER, AlwaysLeader, Duties, ElectedLeader

pytestmark = pytest.mark.anyio


class Faulty(MemoryLeadership):
    """Fails, or does not answer at all, when told to."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock.now)
        self.is_away = False
        self.hangs: anyio.Event | None = None

    async def claim(self, plane_id: PlaneId, term: Term | None, hold_s: float = HOLD_S) -> Claimed:
        """See the port."""
        if self.is_away:
            raise Unavailable("the store is away")
        if self.hangs is not None:
            await self.hangs.wait()
        return await super().claim(plane_id, term, hold_s)

    def take_over(self, plane_id: PlaneId) -> Hold:
        """Another plane leads from now on, for long."""
        self._hold = claimed(self._hold, plane_id, None, self._now(), 3600.0)
        return self._hold


class Recorder:
    """Duties that record what happens to them."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.happened: list[str] = []
        self.ticks = 0
        self.failing: set[str] = set()
        self.failed: list[str] = []
        self.leaves_slowly: anyio.Event | None = None

    @property
    def duties(self) -> Duties:
        """With two loops."""
        loops = {"tick": self._tick, "idle": self._idle}
        return Duties(self._enter, loops, self._leave, self.failed.append)

    async def _enter(self) -> None:
        self._happens("enter")

    async def _leave(self) -> None:
        if self.leaves_slowly is not None:
            await self.leaves_slowly.wait()
        self._happens("leave")

    async def _tick(self) -> None:
        while True:
            self._happens("tick" if not self.ticks else "")
            self.ticks += 1
            if "every tick" in self.failing:
                raise LookupError("tick")
            await self.clock.sleep(0.5)

    async def _idle(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self._happens("idle stops")

    def _happens(self, what: str) -> None:
        if what:
            self.happened.append(what)
        if what in self.failing:
            raise LookupError(what)


class Running:
    """A plane that runs."""

    def __init__(self, name: str, store: MemoryLeadership, clock: VirtualClock) -> None:
        plane = Plane(PlaneId(name), name, f"http://{name}", "1.0")
        self.leader = ElectedLeader(store, plane, clock, clock.monotonic)
        self.recorder = Recorder(clock)
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        """Until :meth:`stop`."""
        with self.scope:
            async with anyio.create_task_group() as group:
                await self.leader.start(self.recorder.duties, group)

    async def stop(self) -> None:
        """As a process does that is told to."""
        self.scope.cancel()
        await settled()


def leads(one: Running) -> bool:
    """Whether it leads now."""
    return one.leader.is_leader


class World:
    """Planes on one store."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = Faulty(self.clock)
        self.start: Callable[[Running], object] = lambda _one: None

    async def plane(self, name: str) -> Running:
        """Another plane, which has asked for the hold."""
        one = Running(name, self.store, self.clock)
        self.start(one)
        await settled()
        return one

    async def advance(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            await settled()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        """Ends all planes at the end."""
        async with anyio.create_task_group() as group:
            self.start = lambda one: group.start_soon(one.run)
            yield self
            group.cancel_scope.cancel()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """No planes yet."""
    async with World().running() as one:
        yield one


async def test_one_of_two_leads(world: World) -> None:
    """It enters, then its loops run; the other one does nothing and knows who leads."""
    first, second = await world.plane("one"), await world.plane("two")
    await world.advance(60)
    assert first.leader.is_leader
    assert first.leader.term == 1
    assert first.recorder.happened == ["enter", "tick"]
    assert first.recorder.ticks > 100
    assert not second.leader.is_leader
    assert second.leader.term == NEVER
    assert second.recorder.happened == []
    assert second.leader.leader is not None
    assert second.leader.leader.plane_id == "one"


async def test_a_leader_that_is_stopped_hands_over_at_once(world: World) -> None:
    """After all its duties have ended and what it knew was dropped."""
    first, second = await world.plane("one"), await world.plane("two")
    await first.stop()
    assert first.recorder.happened == ["enter", "tick", "idle stops", "leave"]
    await world.advance(1)
    assert second.leader.is_leader
    assert second.leader.term == 2
    assert second.recorder.happened[0] == "enter"


async def test_another_takes_over_within_five_seconds_of_a_death(world: World) -> None:
    """Wherever in its second the leader dies."""
    second: Running | None = None
    for number in range(8):
        leader = second or await world.plane("one")
        second = await world.plane(f"other {number}")
        await world.advance(number * 0.25)
        # As a process that is killed: it neither resigns nor renews.
        leader.leader._store = _Dead()
        waited_s = 0.0
        while not second.leader.is_leader:
            await world.advance(0.25)
            waited_s += 0.25
            assert waited_s < 5
        await leader.stop()


class _Dead(MemoryLeadership):
    async def claim(self, plane_id: PlaneId, term: Term | None, hold_s: float = HOLD_S) -> Claimed:
        del plane_id, term, hold_s
        raise Unavailable("dead")

    async def resign(self, plane_id: PlaneId, term: Term) -> bool:
        del plane_id, term
        raise Unavailable("dead")


async def test_a_leader_without_its_store_stops_by_itself(world: World) -> None:
    """Before another may begin; and leads again in a new term once the store is back."""
    one = await world.plane("one")
    world.store.is_away = True
    await world.advance(LEAD_S - 0.5)
    assert leads(one)
    await world.advance(0.5)
    assert not leads(one)
    assert one.recorder.happened == ["enter", "tick", "idle stops", "leave"]
    world.store.is_away = False
    await world.advance(1)
    assert one.leader.term == 2
    assert one.recorder.happened[4:] == ["enter"]
    assert one.recorder.ticks > 0


async def test_a_store_that_does_not_answer_is_like_none(world: World) -> None:
    """The leader does not wait for it longer than it may lead."""
    one = await world.plane("one")
    world.store.hangs = anyio.Event()
    await world.advance(LEAD_S + 1)
    assert not leads(one)
    assert one.recorder.happened[-1] == "leave"
    world.store.hangs.set()
    world.store.hangs = None
    await world.advance(2)
    assert leads(one)
    assert one.leader.term > 1


async def test_a_plane_that_was_stopped_for_long_yields(world: World) -> None:
    """It wakes, finds another leading, and drops what it knew."""
    first = await world.plane("one")
    world.clock.advance(60)
    taken = world.store.take_over(PlaneId("two"))
    assert not first.leader.is_leader
    await world.advance(2)
    assert first.recorder.happened == ["enter", "tick", "idle stops", "leave"]
    assert first.leader.leader == taken


async def test_a_failed_loop_is_begun_again_while_it_leads(world: World) -> None:
    """The others go on, and whoever counts failures is told."""
    one = Running("one", world.store, world.clock)
    one.recorder.failing.add("every tick")
    world.start(one)
    await settled()
    await world.advance(3)
    assert set(one.recorder.failed) == {"tick"}
    assert one.leader.is_leader
    one.recorder.failing.clear()
    await world.advance(10)
    assert one.recorder.ticks > 5
    assert "idle stops" not in one.recorder.happened


async def test_what_cannot_be_learnt_is_learnt_later(world: World) -> None:
    """Loops begin only then; what a failed attempt left is dropped before."""
    one = Running("one", world.store, world.clock)
    one.recorder.failing.add("enter")
    world.start(one)
    await settled()
    assert one.recorder.happened == ["enter", "leave"]
    assert one.recorder.failed == ["leading"]
    one.recorder.failing.clear()
    await world.advance(2)
    assert one.recorder.happened == ["enter", "leave", "enter", "tick"]


async def test_it_asks_for_nothing_while_it_leaves(world: World) -> None:
    """Another one leads meanwhile; it does not get a second term beside its own first one."""
    first = await world.plane("one")
    first.recorder.leaves_slowly = anyio.Event()
    world.store.is_away = True
    await world.advance(LEAD_S)
    world.store.is_away = False
    second = await world.plane("two")
    await world.advance(HOLD_S)
    assert second.leader.is_leader
    first.recorder.leaves_slowly.set()
    await world.advance(2)
    assert second.leader.is_leader
    assert not first.leader.is_leader


async def test_what_it_decides_while_it_leaves_is_refused(world: World) -> None:
    """Its scheduler goes on for a moment, and must not commit on no condition at all."""
    one = await world.plane("one")
    one.recorder.leaves_slowly = anyio.Event()
    assert one.leader.term == 1
    world.store.is_away = True
    await world.advance(LEAD_S)
    assert one.recorder.happened[-1] == "idle stops"
    assert one.leader.term == NEVER
    one.recorder.leaves_slowly.set()
    await world.advance(0.5)
    assert one.recorder.happened[-1] == "leave"
    assert one.leader.term == NEVER


async def test_watchers_are_told_of_every_term_once(world: World) -> None:
    """Their own plane's, and others'."""
    seen: list[Hold] = []
    first, second = await world.plane("one"), await world.plane("two")
    second.leader.watch(seen.append)
    await world.advance(10)
    await first.stop()
    await world.advance(10)
    assert [(one.plane_id, one.term) for one in seen] == [("two", 2)]


async def test_a_plane_that_was_forgotten_registers_again(world: World) -> None:
    """With what it said of itself."""
    one = await world.plane("one")
    await world.store.forget(-60)
    await world.advance(2)
    assert [record.plane.name for record in await world.store.planes()] == ["one"]
    assert one.leader.is_leader


async def test_the_only_plane_always_leads() -> None:
    """It learns first, raises what that raises, and its commits have no condition."""
    clock = VirtualClock()
    leader, recorder = AlwaysLeader(clock), Recorder(clock)
    assert leader.is_leader
    assert leader.term is None
    async with anyio.create_task_group() as group:
        await leader.start(recorder.duties, group)
        assert recorder.happened == ["enter"]
        await settled()
        assert recorder.happened == ["enter", "tick"]
        group.cancel_scope.cancel()
    recorder.failing.add("enter")
    async with anyio.create_task_group() as group:
        with pytest.raises(LookupError):
            await leader.start(recorder.duties, group)
