"""Workers on other machines over a real NATS: what is allowed, lost, too large, late or forged."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from joined_ends import (
    HELLO,
    I1,
    I2,
    ORDER,
    SOON_S,
    W1,
    W2,
    Engine,
    Hand,
    assignment_of,
    attempt_of,
    beat_of,
    ended_of,
)
from msgspec.structs import replace
from nats.aio.client import Client

from eventually import eventually_async
from fakes.joined import Joined, Plane, link, plane
from natsserver import NatsServer, nats_server
from taskyard.core.attempts import Report, Started
from taskyard.core.availability import RuntimeStatus
from taskyard.core.errors import InvalidInput, TaskyardError, Unavailable
from taskyard.core.ids import (
    AttemptId,
    IncarnationId,
    LeaseToken,
)
from taskyard.core.instants import Instant
from taskyard.ports.errors import PayloadTooLarge, TimedOut, Unreachable, WorkerUnreachable
from taskyard.ports.runtime import Assignment
from taskyard.transport.addresses import Address, may_own
from taskyard.transport.envelopes import Bytes, Failure, Request, encode, error_of
from taskyard.transport.nats import messages as plane_messages
from taskyard.transport.nats.errors import is_refusal
from taskyard.transport.workers import WorkerClient, wire
from taskyard.transport.workers import client as clients
from taskyard.transport.workers import transport as orders

pytestmark = pytest.mark.anyio


class World:
    """A plane and a worker that has joined."""

    def __init__(self, end: Plane, joined: Joined, engine: Engine, hand: Hand, up: WorkerClient):
        self.plane = end
        self.joined = joined
        self.engine = engine
        self.hand = hand
        self.up = up


@asynccontextmanager
async def _world(server: NatsServer) -> AsyncIterator[World]:
    engine, hand = Engine(), Hand()
    async with plane(server.url) as end, link(server.url, W1, hand) as (up, _):
        joined = await end.serve(engine)
        with anyio.fail_after(SOON_S):
            assert await up.joined(HELLO) == []
        yield World(end, joined, engine, hand, up)


@pytest.fixture(name="server")
async def _server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    with nats_server(tmp_path) as server:
        yield server


async def _assign(world: World, *assignments: Assignment) -> bool:
    try:
        worker = await world.plane.transport.to_worker(W1)
        await worker.assign(list(assignments))
    except WorkerUnreachable:
        return False
    return True


async def test_orders_are_for_one_life(server: NatsServer) -> None:
    """One that is late, for the life before, is refused; so is one for a worker nobody has."""
    async with _world(server) as world:
        assert await _assign(world, assignment_of("a"))
        world.joined.lives[W1] = I2  # as a plane would have it after the worker joined elsewhere
        with pytest.raises(WorkerUnreachable, match="joined again"):
            await (await world.plane.transport.to_worker(W1)).kill([ORDER])
        world.joined.lives[W2] = I1
        with pytest.raises(WorkerUnreachable, match="cannot be reached"):
            await (await world.plane.transport.to_worker(W2)).assign([assignment_of("b")])
        assert [one.attempt_id for one in world.hand.assigned] == ["a"]


async def test_batches_fit_into_messages_and_a_large_one_comes_in_pieces(
    tmp_path: Path,
) -> None:
    """Orders, answers and reports, whatever the server's limit is; nothing else is lost."""
    config = tmp_path / "small.conf"
    config.write_text("max_payload: 65536\n")
    with nats_server(tmp_path, "-c", str(config)) as server:
        async with _world(server) as world:
            wanted = [assignment_of(f"a{number}", 10_000) for number in range(30)]
            assert await _assign(world, *wanted, assignment_of("big", 3 << 20))
            assert [one.attempt_id for one in world.hand.assigned][:-1] == [
                one.attempt_id for one in wanted
            ]
            assert world.hand.assigned[-1].work == assignment_of("big", 3 << 20).work
            assert 5 < world.hand.orders < 20
            reports: list[Report] = [ended_of(f"e{number}", 10_000) for number in range(30)]
            reports.append(ended_of("large", 3 << 20))
            assert await world.up.report(reports) == []
            assert world.engine.reports == reports
            world.engine.attempts = [attempt_of("x", "y" * (1 << 20))]
            assert await world.up.joined(replace(HELLO, incarnation=I2)) == world.engine.attempts


async def test_a_worker_sends_nothing_larger_than_planes_take(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused with a sentence, and costs nobody else anything."""
    monkeypatch.setattr(plane_messages, "FROM_WORKER_BYTES", 2 << 20)
    async with _world(server) as world:
        with pytest.raises(PayloadTooLarge, match="larger than"):
            await world.up.report([ended_of("large", 3 << 20)])
        assert await world.up.report([ended_of("small")]) == []


async def test_who_asks_is_what_the_subject_says(server: NatsServer) -> None:
    """Whatever a worker says in its messages."""
    async with _world(server) as world, link(server.url, W2, Hand()) as (other, _):
        await other.joined(HELLO)
        await other.beat(beat_of())
        assert world.joined.callers == [W1, W2, W2]


async def test_subjects_of_a_worker_are_all_it_needs(tmp_path: Path) -> None:
    """With the permissions that a credential gets it works, also with large messages."""
    config = tmp_path / "permissions.conf"
    allowed = {
        "publish": {"allow": ["taskyard.t.engine.w1.*", "taskyard.t.plane.*.pieces"]},
        "subscribe": {"allow": ["taskyard.t.worker.w1.>"]},
        "allow_responses": True,
    }
    users = [
        {"user": "planes", "password": "p"},
        {"user": "w1", "password": "s", "permissions": allowed},
    ]
    config.write_text(json.dumps({"authorization": {"users": users}}))
    with nats_server(tmp_path, "-c", str(config)) as server:
        engine, hand = Engine(), Hand()
        of_planes = server.url.replace("//", "//planes:p@")
        own = server.url.replace("//", "//w1:s@")
        async with plane(of_planes) as end, link(own, W1, hand) as (up, messages):
            await end.serve(engine)
            await up.joined(HELLO)
            assert await up.beat(beat_of())
            worker = await end.transport.to_worker(W1)
            await worker.assign([assignment_of("a"), assignment_of("b", 3 << 20)])
            await worker.kill([ORDER])
            assert (len(hand.assigned), len(hand.killed)) == (2, 1)
            assert await up.report([ended_of("a", 3 << 20)]) == []
            # And not for others, nor at a plane.
            for foreign in ("engine.w2", "worker.w2", "leader", "plane.p"):
                with pytest.raises((TimedOut, Unreachable)):
                    await messages.asking.ask(Address(foreign), "beat", b"", 0.3)


async def test_restarted_server_is_found_again(server: NatsServer) -> None:
    """It remembers nothing; orders and reports go on, and what was asked meanwhile has failed."""
    async with _world(server) as world:
        for number in range(3):
            server.stop()
            with anyio.fail_after(SOON_S):
                with pytest.raises(Unreachable):
                    await world.up.report([ended_of("lost")])
            assert not await _assign(world, assignment_of("lost"))
            server.start()
            await eventually_async(partial(_assign, world, assignment_of(f"a{number}")))
            await eventually_async(lambda: _beats(world.up))
        assert "lost" not in [one.attempt_id for one in world.hand.assigned]


async def _beats(up: WorkerClient) -> bool:
    try:
        return await up.beat(beat_of())
    except TaskyardError:
        return False


async def test_failed_report_is_told(server: NatsServer) -> None:
    """As the error that it was: the worker sends it again."""
    async with _world(server) as world:
        world.engine.fail_reports = 1
        with pytest.raises(Unavailable, match="the store is away"):
            await world.up.report([ended_of("a")])
        await world.up.report([ended_of("a")])
        assert len(world.engine.reports) == 1


async def test_statuses_are_told_when_they_change(server: NatsServer) -> None:
    """A heartbeat says nothing that the planes know already."""
    async with _world(server) as world:
        await world.up.beat(beat_of())
        now = {"command": RuntimeStatus(available=False, reason="broken")}
        for _ in range(2):
            await world.up.beat(replace(beat_of(), statuses=now))
        world.engine.holds = False
        await world.up.beat(beat_of())
        await world.up.beat(beat_of())
        assert [one.statuses for one in world.engine.beats] == [None, now, None, {}, {}]


async def test_only_one_of_several_planes_answers(server: NatsServer) -> None:
    """Any of them, and each request reaches one."""
    first, second, hand = Engine(), Engine(), Hand()
    async with (
        plane(server.url, "p") as one,
        plane(server.url, "q") as two,
        link(server.url, W1, hand) as (up, _),
    ):
        await one.serve(first)
        await two.serve(second)
        await up.joined(HELLO)
        for number in range(40):
            await up.report([ended_of(f"e{number}")])
        assert len(first.reports) + len(second.reports) == 40
        assert first.reports
        assert second.reports
        # One that goes leaves the other.
        await two.transport.close()
        seen = len(second.reports)
        for number in range(10):
            await up.report([ended_of(f"f{number}")])
        assert len(second.reports) == seen


async def test_silent_worker_keeps_nobody_waiting(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again only after a while; then it gets its orders."""
    monkeypatch.setattr(orders, "ACKNOWLEDGED_S", 0.2)
    monkeypatch.setattr(orders, "SILENT_S", 0.5)
    async with _world(server) as world:
        # Its process stands still: the message is taken, and nobody answers.
        monkeypatch.setattr(world.up, "_present", _never)
        began = anyio.current_time()
        assert not await _assign(world, assignment_of("a"))
        for _ in range(20):
            assert not await _assign(world, assignment_of("a"))
        assert anyio.current_time() - began < 0.5
        monkeypatch.delattr(world.up, "_present")
        await eventually_async(lambda: _assign(world, assignment_of("a")))


async def _never(_incarnation: IncarnationId) -> Hand:
    await anyio.sleep_forever()
    return Hand()


async def test_newer_protocols_are_refused(server: NatsServer) -> None:
    """With what to do; an unknown member is passed over."""
    async with _world(server) as world:
        messages = world.up._messages
        later = wire.encode(wire.Joining(HELLO, protocol=2))
        with pytest.raises(InvalidInput, match="upgrade control planes before workers"):
            await messages.ask_planes("joined", later, 5)
        content = msgspec.to_builtins(wire.Joining(HELLO))
        more = msgspec.msgpack.encode({**content, "color": "blue"})
        assert (
            wire.answered(wire.Joined, await messages.ask_planes("joined", more, 5)).attempts == []
        )


async def test_forged_messages_disturb_nobody(server: NatsServer) -> None:
    """Garbage, payloads of others, and answers that are no answers."""
    async with _world(server) as world:
        client = Client()
        await client.connect(server.url)
        try:
            for payload in (
                b"",
                b"\xc1",
                bytes(1000),
                encode(Request(1e308, b"")),
                encode(Request(-1.0, b"x")),
                encode(Request(1.0, Bytes("plane.p", "key", 10))),
                encode(Request(1.0, Bytes("worker.w2", "key", 10))),
                encode(Request(1.0, Bytes("worker.w1", "key", 1 << 40))),
                encode(Request(1.0, Bytes(">", "key", -1))),
            ):
                for what in ("joined", "beat", "report", "resolve", "else"):
                    await client.publish(f"taskyard.t.engine.w1.{what}", payload, "nowhere")
            await client.flush()
        finally:
            await client.close()
        assert await world.up.beat(beat_of())
        assert world.engine.reports == []
        assert await _assign(world, assignment_of("a"))


def test_a_worker_keeps_only_its_own() -> None:
    """A plane fetches the rest of a worker's message from that worker, and nowhere else."""
    worker, own = Address("worker.w1"), Address("plane")
    assert may_own(worker, "worker.w1")
    assert not may_own(worker, "worker.w2")
    assert not may_own(worker, "plane.p")
    assert may_own(own, "plane.p")
    assert not may_own(own, "worker.w1")
    for odd in ("plane.>", "plane.*", "plane.a.b", "worker.w1 ", "", "leader", "plane."):
        assert not may_own(own, odd)
        assert not may_own(worker, odd)


def test_errors_of_others_are_no_more_than_errors() -> None:
    """Their members cannot take the place of what an exception is made of."""
    made = error_of(Failure("Unreachable", "no", {"args": 5, "with_traceback": 1, "x": 2}))
    assert isinstance(made, Unreachable)
    assert made.args == ("no",)
    assert str(made.with_traceback(None)) == "no"


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), True),
        (OSError("Multiple exceptions: [Errno 111] Connect, [Errno 111] Connect"), True),
        (OSError("Multiple exceptions: [Errno 111] Connect, [Errno 113] No route"), False),
        (OSError(113, "No route to host"), False),
        (TimeoutError(), False),
        (None, False),
    ],
)
def test_what_counts_as_refused(error: BaseException | None, refused: bool) -> None:
    """Only if every address of the server has refused."""
    assert is_refusal(error) is refused


async def test_refusal_of_all_servers_is_noted(server: NatsServer) -> None:
    """The moment when nobody can have been connected."""
    async with link(server.url, W1, Hand()) as (_, messages):
        assert messages.refused_at is None
        server.stop()
        await eventually_async(lambda: messages.refused_at is not None)
        assert abs(clients.since_boot() - (messages.refused_at or 0)) < SOON_S  # type: ignore[redundant-expr]


def test_started_and_ended_are_told_apart() -> None:
    """Reports keep their kind on the wire."""
    reports: list[Report] = [Started(AttemptId("a"), LeaseToken("l"), Instant(1)), ended_of("a")]
    told = wire.encode(wire.Reports(reports, Instant(0)))
    assert wire.asked(wire.Reports, told).reports == reports
