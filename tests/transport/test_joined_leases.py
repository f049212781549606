"""The lease of a worker on another machine, as it sees it itself: when it stops what it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from joined_ends import (
    HELLO,
    I1,
    I2,
    SOON_S,
    W1,
    Hand,
    assignment_of,
    beat_of,
    ended_of,
)
from msgspec.structs import replace

from fakes.clock import VirtualClock
from taskyard.core.errors import InvalidInput, StaleLease, TaskyardError, Unavailable
from taskyard.core.ids import (
    IncarnationId,
)
from taskyard.ports.errors import Unreachable, WorkerUnreachable
from taskyard.transport.workers import WorkerClient, wire
from taskyard.transport.workers import client as clients

pytestmark = pytest.mark.anyio


class Time:
    """A clock since boot that is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """What it says."""
        return self.now_s


class Wire:
    """``PlaneMessages`` that do as they are told, without NATS."""

    def __init__(self) -> None:
        self.is_connected = True
        self.refused_at: float | None = None
        self.room_bytes = 1000
        self.answer: object = wire.Joined([])
        self.asked: list[tuple[str, bytes]] = []

    async def ask_planes(self, what: str, payload: bytes, timeout_s: float) -> bytes:
        """The answer set, or the error."""
        assert timeout_s > 0
        self.asked.append((what, payload))
        if isinstance(self.answer, Exception):
            raise self.answer
        return wire.encode(self.answer)

    def serve(self, what: str, handler: object) -> None:
        """Nothing arrives."""


@asynccontextmanager
async def _lone_link() -> AsyncIterator[tuple[WorkerClient, Wire, Time]]:
    messages, now_s = Wire(), Time()
    async with anyio.create_task_group() as tasks:
        up = WorkerClient(messages, VirtualClock(), tasks, now_s)
        await up.connect(W1, Hand())
        await up.joined(HELLO)
        yield up, messages, now_s


async def test_lease_lapses_before_it_can_end() -> None:
    """Eight seconds after the last heartbeat that was held was *sent*; then nothing is reported."""
    async with _lone_link() as (up, messages, now_s):
        messages.answer = wire.BeatAnswer(holds=True)
        now_s.now_s += 5
        assert await up.beat(beat_of())
        messages.answer = Unreachable("cut off")
        now_s.now_s += 7.9
        with pytest.raises(Unreachable):
            await up.beat(beat_of())
        now_s.now_s += 0.2
        with pytest.raises(StaleLease):
            await up.beat(beat_of())
        with pytest.raises(Unavailable, match="lapsed"):
            await up.report([ended_of("a")])
        # The planes are told when it joins, so that they need not wait for the end of the lease.
        messages.answer = wire.Joined([])
        await up.joined(replace(HELLO, incarnation=I2))
        assert wire.asked(wire.Joining, messages.asked[-1][1]).lapsed == [I1]
        messages.answer = wire.BeatAnswer(holds=True)
        assert await up.beat(beat_of(I2))
        messages.answer = wire.Refused([])
        assert await up.report([ended_of("a")]) == []
        messages.answer = wire.Joined([])
        await up.joined(replace(HELLO, incarnation=IncarnationId("i3")))
        assert wire.asked(wire.Joining, messages.asked[-1][1]).lapsed == []


async def test_nothing_lapses_while_nats_is_away_for_everybody() -> None:
    """Where all its servers refuse connections, for as long as that lasts; not when they hang."""
    async with _lone_link() as (up, messages, now_s):
        messages.answer = Unreachable("nobody there")
        for _ in range(100):
            now_s.now_s += 7
            messages.refused_at = now_s.now_s - 1
            with pytest.raises(Unreachable):
                await up.beat(beat_of())
        now_s.now_s += 7.1
        with pytest.raises(StaleLease):
            await up.beat(beat_of())


async def test_lease_lapses_also_while_it_tries_to_join() -> None:
    """What runs must not go on because the worker waits for an answer."""
    async with _lone_link() as (up, messages, now_s):
        messages.answer = Unreachable("cut off")
        now_s.now_s += 8.1
        with anyio.fail_after(SOON_S), pytest.raises(StaleLease):
            await up.joined(replace(HELLO, incarnation=I2))
        messages.answer = wire.Joined([])
        await up.joined(replace(HELLO, incarnation=IncarnationId("i3")))
        assert wire.asked(wire.Joining, messages.asked[-1][1]).lapsed == [I1, I2]


async def test_orders_after_the_lease_are_refused() -> None:
    """A process that was stopped finds them in its queue when it goes on."""
    async with _lone_link() as (up, _, now_s):
        now_s.now_s += 8.1
        with pytest.raises(WorkerUnreachable, match="lapsed"):
            await up._on_assign(wire.encode(wire.Assign(I1, [assignment_of("a")])))


async def test_of_two_rivals_the_first_gives_way() -> None:
    """Replaced once, it joins again; replaced a second time soon after, it stops trying."""
    async with _lone_link() as (up, messages, now_s):
        gave_way: list[TaskyardError] = []
        up.on_refused = gave_way.append
        messages.answer = wire.BeatAnswer(holds=False, replaced=True)
        assert not await up.beat(beat_of())
        now_s.now_s += 2
        with pytest.raises(clients.Replaced):
            await up.beat(beat_of())
        assert [type(one) for one in gave_way] == [clients.Replaced]


async def test_refused_workers_are_told_why() -> None:
    """Instead of trying forever."""
    async with _lone_link() as (up, messages, _):
        messages.answer = InvalidInput("protocol", "speak slowly")
        with pytest.raises(InvalidInput, match="speak slowly"):
            await up.joined(replace(HELLO, incarnation=I2))
