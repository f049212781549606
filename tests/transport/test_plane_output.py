"""Output beside another control plane: read by offset, followed, deleted, away."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.abc import TaskGroup

from eventually import eventually_async
from taskyard.core.attempts import StreamSize
from taskyard.core.errors import InvalidInput, NotAllowed, NotFound, StoreDamaged
from taskyard.core.ids import AttemptId, PlaneId, WorkerId
from taskyard.core.output_index import STDOUT, encode
from taskyard.ports.dispatching import JOINED
from taskyard.ports.errors import PortError, TimedOut, Unreachable
from taskyard.ports.logs import Stream
from taskyard.ports.messages import Handler
from taskyard.transport import remote_output as outputs
from taskyard.transport.addresses import plane_address, worker_address
from taskyard.transport.local import LocalMessageHub, local_message_hub
from taskyard.transport.local.messages import Message
from taskyard.transport.planes.output import DELETED, PlaneOutput
from taskyard.transport.remote_output import ServedOutput
from taskyard.worker.output.log_files import LogFiles

pytestmark = pytest.mark.anyio

HERE, THERE = PlaneId("a"), PlaneId("b")
ONE = AttemptId("01988a00-0000-7000-8000-000000000001")
TWO = AttemptId("01988a00-0000-7000-8000-000000000002")
OUT, ERR = Stream.STDOUT, Stream.STDERR
LIMIT = 16 << 20
OFFSETS = [0, 1, outputs.RANGE_BYTES - 1, outputs.RANGE_BYTES, 3 * outputs.RANGE_BYTES + 5]


class Files(LogFiles):
    """Attempt directories that know which attempts they have, and may be damaged."""

    is_damaged = False

    def holds(self, attempt_id: AttemptId) -> bool:
        """Whether there is a directory."""
        return (self._root / attempt_id).is_dir()

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """As the files say, unless they are damaged."""
        if self.is_damaged:
            raise StoreDamaged("archive is cut short")
        return await super().read(attempt_id, stream, offset, length)


class World:
    """Two planes; attempts run beside the other one."""

    def __init__(self, root: Path, hub: LocalMessageHub, tasks: TaskGroup) -> None:
        self.hub = hub
        self.root = root
        self.where: dict[AttemptId, PlaneId] = {ONE: THERE}
        self.held = Files(root / "there")
        self.asked: list[str] = []
        hub.deliveries = self._deliveries
        self.output = PlaneOutput(hub.plane(HERE), self._plane_of, Files(root / "here"), tasks)
        self.other = PlaneOutput(hub.plane(THERE), self._plane_of, self.held, tasks)
        (root / "there").mkdir()

    async def _plane_of(self, attempt_id: AttemptId) -> PlaneId | None:
        return self.where.get(attempt_id)

    def _deliveries(self, message: Message) -> tuple[float, ...]:
        self.asked.append(message.what)
        return (0.0,)

    def write(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """What the work does."""
        directory = self.root / "there" / attempt_id
        if not directory.exists():
            directory.mkdir()
            (directory / "meta.json").write_text(json.dumps({"log_limit_bytes": LIMIT}))
        with (directory / stream).open("ab") as file:
            file.write(data)

    def record(self, index: bytes) -> None:
        """What the runtime adds to the order of the first attempt's output."""
        with (self.root / "there" / ONE / "order").open("ab") as file:
            file.write(index)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Nothing was written yet."""
    async with local_message_hub() as hub, anyio.create_task_group() as tasks:
        yield World(tmp_path, hub, tasks)
        tasks.cancel_scope.cancel()


async def test_streams_are_read_by_offset(world: World) -> None:
    """Any part of either, however large, in requests of bounded size."""
    data = bytes(range(251)) * 9000
    world.write(ONE, OUT, data)
    world.write(ONE, ERR, b"oh")
    assert await world.output.size(ONE, OUT) == StreamSize(len(data), 0)
    for offset in OFFSETS:
        for length in (0, 1, outputs.RANGE_BYTES, len(data), 1 << 40):
            found = await world.output.read(ONE, OUT, offset, length)
            assert found == data[offset : offset + length]
    assert await world.output.read(ONE, OUT, len(data), 5) == b""
    assert await world.output.read(ONE, OUT, -1, 5) == b""
    assert await world.output.read(ONE, ERR, 0, 5) == b"oh"


async def test_no_read_answers_with_more_than_the_limit(world: World) -> None:
    """As of files here."""
    world.write(ONE, OUT, b"x" * (outputs.LARGEST_READ_BYTES + 5))
    assert len(await world.output.read(ONE, OUT, 0, 1 << 40)) == outputs.LARGEST_READ_BYTES


async def test_the_order_is_read_by_offset(world: World) -> None:
    """None is not the same as nothing yet."""
    world.write(ONE, OUT, b"a")
    assert await world.output.order(ONE, 0, 100) is None
    world.record(encode(1, 1, STDOUT))
    assert await world.output.order(ONE, 0, 100) == encode(1, 1, STDOUT)
    assert await world.output.order(ONE, 2, 3) == encode(1, 1, STDOUT)[2:5]
    assert await world.output.order(ONE, -2, 3) == b""


async def test_growth_wakes_all_who_wait_with_one_request(world: World) -> None:
    """However many follow; what grew before is told at once."""
    world.write(ONE, OUT, b"abc")
    answers: list[bool] = []

    async def wait() -> None:
        answers.append(await world.output.changed(ONE, 1000, 3))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as waiting:
            for _ in range(20):
                waiting.start_soon(wait)
            await eventually_async(lambda: world.asked.count(outputs.CHANGED) == 1)
            world.write(ONE, ERR, b"d")
        assert answers == [True] * 20
        assert world.asked.count(outputs.CHANGED) == 2  # with its answer
        assert await world.output.changed(ONE, 1000, 3)
        assert not await world.output.changed(ONE, 0.05, 4)
        assert not await world.output.changed(ONE, 0.05)


async def test_waiting_goes_on_when_nothing_grows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other plane is asked again and again, until the waiter's time is over."""
    monkeypatch.setattr(outputs, "POLL_S", 0.02)
    world.write(ONE, OUT, b"abc")
    assert not await world.output.changed(ONE, 0.2, 3)
    assert world.asked.count(outputs.CHANGED) > 4


async def test_what_is_not_there_is_not_found(world: World) -> None:
    """An attempt nobody knows, one beside this plane, and one whose directory is gone."""
    world.where[TWO] = HERE
    for attempt_id in (ONE, TWO, AttemptId("../../etc")):
        for read in (
            world.output.size(attempt_id, OUT),
            world.output.read(attempt_id, OUT, 0, 1),
            world.output.order(attempt_id, 0, 1),
            world.output.changed(attempt_id, 1, 0),
            world.output.changed(attempt_id, 1),
        ):
            with pytest.raises(NotFound):
                await read


@pytest.mark.parametrize(
    ("is_cut", "kind"), [(True, Unreachable), (False, TimedOut)], ids=["gone", "silent"]
)
async def test_plane_that_is_away_is_named(
    world: World, is_cut: bool, kind: type[PortError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of output that seems to be empty."""
    monkeypatch.setattr(outputs, "ANSWER_S", 0.05)
    monkeypatch.setattr(outputs, "POLL_S", 0.05)
    world.write(ONE, OUT, b"abc")
    if is_cut:
        world.hub.planes[THERE].is_cut = True
    else:
        world.hub.deliveries = lambda _: ()
    for read in (
        world.output.size(ONE, OUT),
        world.output.read(ONE, OUT, 0, 1),
        world.output.order(ONE, 0, 1),
        world.output.changed(ONE, 100, 3),
    ):
        with pytest.raises(kind, match="beside control plane b, which cannot be asked"):
            await read


async def test_what_is_raised_there_is_trouble_there(world: World) -> None:
    """Whoever answers does not choose what the reader is told of himself."""

    async def refuse(_: bytes) -> bytes:
        raise NotAllowed("you are nobody")

    world.hub.planes[THERE].serve(outputs.READ, refuse)
    with pytest.raises(Unreachable, match="you are nobody"):
        await world.output.read(ONE, OUT, 0, 1)


async def test_plane_that_was_silent_keeps_nobody_else_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again after a while, and not by every reader for himself."""
    monkeypatch.setattr(outputs, "ANSWER_S", 0.05)
    world.where[TWO] = THERE
    world.write(TWO, OUT, b"abc")
    world.hub.deliveries = lambda _: ()
    with pytest.raises(TimedOut):
        await world.output.size(ONE, OUT)
    monkeypatch.setattr(outputs, "ANSWER_S", 3600.0)
    with anyio.fail_after(1):
        with pytest.raises(TimedOut, match="a moment ago"):
            await world.output.size(TWO, OUT)
    world.hub.deliveries = lambda _: (0.0,)
    world.output._silent_until[plane_address(THERE)] = 0.0
    assert await world.output.size(TWO, OUT) == StreamSize(3)


async def test_workers_on_other_machines_are_asked_themselves(tmp_path: Path) -> None:
    """By every plane; one that is away is named."""
    handlers: dict[str, Handler] = {}
    asked: list[str] = []
    held = Files(tmp_path / "far")
    ServedOutput(handlers.__setitem__, held)

    async def ask(what: str, payload: bytes, timeout_s: float) -> bytes:
        asked.append(what)
        if len(asked) > 2:
            raise TimedOut(f"nothing came within {timeout_s} s")
        return await handlers[what](payload)

    async def at_worker(attempt_id: AttemptId) -> outputs.OutputPlace | None:
        return (
            outputs.OutputPlace(worker_address(WorkerId("far")), ask) if attempt_id == ONE else None
        )

    async def plane_of(_attempt_id: AttemptId) -> PlaneId:
        return JOINED

    (tmp_path / "far" / ONE).mkdir(parents=True)
    (tmp_path / "far" / ONE / OUT).write_bytes(b"abc")
    async with local_message_hub() as hub, anyio.create_task_group() as tasks:
        own = Files(tmp_path / "here")
        output = PlaneOutput(hub.plane(HERE), plane_of, own, tasks, at_worker)
        assert await output.read(ONE, OUT, 1, 5) == b"bc"
        assert await output.size(ONE, OUT) == StreamSize(3)
        with pytest.raises(NotFound):
            await output.size(TWO, OUT)
        with pytest.raises(TimedOut, match="beside worker far, which cannot be asked"):
            await output.size(ONE, OUT)
        with pytest.raises(TimedOut, match="a moment ago"):
            await output.size(ONE, OUT)
        assert asked == [outputs.READ, outputs.SIZE, outputs.SIZE]
        tasks.cancel_scope.cancel()


async def test_damage_is_told_as_such(world: World) -> None:
    """Not as a plane that is away."""
    world.write(ONE, OUT, b"abc")
    world.held.is_damaged = True
    with pytest.raises(StoreDamaged, match="cut short"):
        await world.output.read(ONE, OUT, 0, 3)


async def test_deleted_output_goes_everywhere(world: World) -> None:
    """Also more than fits into one message."""
    many = [AttemptId(f"01988a00-0000-7000-8000-{n:012}") for n in range(2500)]
    for attempt_id in (many[0], many[-1]):
        world.write(attempt_id, OUT, b"a")
    world.write(ONE, OUT, b"a")
    await world.output.delete(many[2:])
    await eventually_async(lambda: not world.held.holds(many[-1]))
    assert world.held.holds(ONE)
    assert world.held.holds(many[0])


async def test_requests_that_cannot_be_read_are_refused(world: World) -> None:
    """And those for more than a range are cut."""
    world.write(ONE, OUT, b"x" * (outputs.RANGE_BYTES + 1))
    messages = world.hub.planes[HERE]
    for what in (outputs.SIZE, outputs.READ, outputs.ORDER, outputs.CHANGED):
        for payload in (b"", b"\xc1", b"\x90", b"\x94\xa1x\xa3etc\x00\x00"):
            with pytest.raises((InvalidInput, NotFound)):
                await messages.request(THERE, what, payload, 10.0)
    messages.publish(DELETED, b"\xc1")
    greedy = msgspec.msgpack.encode([ONE, "stdout", 0, 1 << 62])
    assert len(await messages.request(THERE, outputs.READ, greedy, 10.0)) == outputs.RANGE_BYTES
