"""Output that is stored as objects before the end of its attempt is reported."""

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest
from test_log_keeper import make, report

from eventually import eventually_async
from taskyard.core.attempts import StreamSize
from taskyard.core.errors import NotFound, StorageFull, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.core.output_index import FILE, STDOUT, encode
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.output import ObjectOutput, ObjectResults
from taskyard.ports.logs import Stream
from taskyard.ports.objects import Content, output_key
from taskyard.services.tasks.output_sources import LayeredOutput
from taskyard.worker.output.log_files import LogFiles
from taskyard.worker.output.log_keeper import LogKeeper
from taskyard.worker.output.result_files import ResultFiles
from taskyard.worker.output.shipping import SMALL_BYTES, OutputShipper

pytestmark = pytest.mark.anyio
ONE = AttemptId("01988a00-0000-7000-8000-000000000001")
TWO = AttemptId("01988a00-0000-7000-8000-000000000002")
OUT, ERR = Stream.STDOUT, Stream.STDERR
ALL = 1 << 30


class Objects(FileObjectStore):
    """Files that can be made to fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.failures: list[Exception] = []
        self.puts: list[str] = []

    async def put(self, key: str, content: Content) -> bool:
        """See the port; raises the next of the failures first."""
        if self.failures:
            raise self.failures.pop(0)
        self.puts.append(key)
        return await super().put(key, content)


class World:
    """A keeper that ships, its files, and what another control plane sees."""

    def __init__(self, root: Path, patience_s: float = 30.0) -> None:
        self.root = root / "attempts"
        self.root.mkdir()
        self.files = LogFiles(self.root, poll_s=0.001)
        self.objects = Objects(root / "objects")
        shipper = OutputShipper(self.objects, patience_s=patience_s)
        self.keeper = LogKeeper(self.files, shipper=shipper)
        self.seen = ObjectOutput(self.objects)
        self.layered = LayeredOutput(self.files, self.seen)

    async def end(self, attempt_id: AttemptId) -> None:
        """All that is done at the end of an attempt."""
        ended = await self.keeper.finish(attempt_id, report(attempt_id))
        if self.keeper.is_to_ship(ended):
            await self.keeper.ship(ended)
        await self.keeper.stored(ended)

    async def sweep(self, known: Sequence[AttemptId] = (ONE, TWO)) -> None:
        """As at a start, with nothing running."""

        async def inline_output(attempt_id: AttemptId, stream: str) -> bytes | None:
            del attempt_id, stream
            return None

        async def those_known(attempt_ids: list[AttemptId]) -> list[AttemptId]:
            return [one for one in attempt_ids if one in known]

        await self.keeper.sweep(lambda _: False, inline_output, those_known)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A running one."""
    world = World(tmp_path)
    await world.keeper.start()
    yield world
    await world.keeper.stop()


async def test_all_output_can_be_read_before_the_end_is_reported(world: World) -> None:
    """Both streams as they are read here, with the order of their bytes; then the files go."""
    out, err = os.urandom(3_000_000), b"e" * 20_000
    directory = make(world.root, ONE, out, err)
    index = encode(1, 1, STDOUT) * 100
    (directory / FILE).write_bytes(index)
    ended = await world.keeper.finish(ONE, report())
    assert world.keeper.is_to_ship(ended)
    with pytest.raises(NotFound):
        await world.seen.size(ONE, OUT)
    await world.keeper.ship(ended)
    assert await world.seen.size(ONE, OUT) == StreamSize(len(out))
    assert await world.seen.size(ONE, ERR) == StreamSize(len(err))
    assert await world.seen.read(ONE, OUT, 1_000_000, 2_000) == out[1_000_000:1_002_000]
    assert await world.seen.read(ONE, ERR, 19_999, ALL) == b"e"
    assert await world.seen.order(ONE, 16, 16) == index[16:32]
    assert directory.exists()
    await world.keeper.stored(ended)
    await eventually_async(lambda: not directory.exists())
    assert await world.layered.read(ONE, OUT, 5, 10) == out[5:15]
    assert await world.layered.order(ONE, 0, ALL) == index


async def test_what_was_cut_off_is_stored_with_its_marker(world: World) -> None:
    """As everybody reads it on this machine."""
    directory = make(world.root, ONE, b"x" * 30_000)
    (directory / "meta.json").write_text('{"log_limit_bytes": 20000}')
    ended = await world.keeper.finish(ONE, report())
    here = await world.files.read(ONE, OUT, 0, ALL)
    assert here.endswith(b"10000 bytes dropped]\n")
    await world.keeper.ship(ended)
    assert await world.seen.read(ONE, OUT, 0, ALL) == here
    assert await world.seen.size(ONE, OUT) == StreamSize(len(here))


async def test_little_output_is_not_stored_as_objects(world: World) -> None:
    """It travels with the report, or there is none."""
    make(world.root, ONE, b"out", b"err")
    make(world.root, TWO, b"")
    await world.end(ONE)
    await world.end(TWO)
    await eventually_async(lambda: world.files.attempt_ids() == [])
    assert world.objects.puts == []


async def test_an_attempt_is_there_as_a_whole(world: World) -> None:
    """Not while a part of it is missing; an empty stream is a part as well."""
    make(world.root, ONE, b"", b"e" * 20_000)
    await world.keeper.finish(ONE, report())
    await world.objects.put(output_key(ONE, "stderr"), b"e" * 20_000)
    with pytest.raises(NotFound):
        await world.seen.size(ONE, ERR)
    await world.end(ONE)
    assert world.objects.puts[-1] == output_key(ONE, "stdout")
    assert await world.seen.size(ONE, ERR) == StreamSize(20_000)
    assert await world.seen.size(ONE, OUT) == StreamSize()
    assert await world.seen.read(ONE, OUT, 0, 10) == b""
    assert await world.seen.order(ONE, 0, 10) is None


async def test_it_is_tried_again_until_it_is_stored(world: World) -> None:
    """Whatever the trouble is; what is there by then stays."""
    make(world.root, ONE, b"x" * 20_000)
    world.objects.failures = [Unavailable("away"), StorageFull("full")]
    await world.end(ONE)
    assert await world.seen.size(ONE, OUT) == StreamSize(20_000)
    await eventually_async(lambda: world.files.attempt_ids() == [])


async def test_an_answer_is_stored_as_soon_as_that_is_possible(tmp_path: Path) -> None:
    """A call is not failed because the object store is away for a moment; it is if that is full."""
    objects = Objects(tmp_path)
    results = ObjectResults(objects)
    objects.failures = [Unavailable("away")]
    await results.write(ONE, b"answer")
    assert await results.read(ONE) == b"answer"
    objects.failures = [StorageFull("full")]
    with pytest.raises(StorageFull):
        await results.write(TWO, b"answer")
    objects.failures = [Unavailable("away")]
    with pytest.raises(Unavailable):
        await ObjectResults(objects, patience_s=0.0).write(TWO, b"answer")


async def test_little_output_does_not_wait_for_much(world: World) -> None:
    """However many attempts have much, and however long that takes."""
    may_go, put = anyio.Event(), world.objects.put

    async def slowly(key: str, content: Content) -> bool:
        if "-0000000001" in key:
            await may_go.wait()
        return await put(key, content)

    world.objects.put = slowly  # type: ignore[method-assign]
    large = [AttemptId(f"01988a00-0000-7000-8000-0000000001{number:02}") for number in range(9)]
    async with anyio.create_task_group() as ending:
        for attempt_id in large:
            make(world.root, attempt_id, b"x" * (SMALL_BYTES + 1))
            ending.start_soon(world.end, attempt_id)
        await anyio.wait_all_tasks_blocked()
        make(world.root, TWO, b"x" * SMALL_BYTES)
        with anyio.fail_after(20):
            await world.end(TWO)
        assert await world.seen.size(TWO, OUT) == StreamSize(SMALL_BYTES)
        may_go.set()
    for attempt_id in large:
        assert await world.seen.size(attempt_id, OUT) == StreamSize(SMALL_BYTES + 1)


async def test_output_that_cannot_be_stored_stays_until_it_can(tmp_path: Path) -> None:
    """The end is reported without, after a while; a sweep makes it good."""
    world = World(tmp_path, patience_s=0.0)
    make(world.root, ONE, b"x" * 20_000)
    world.objects.failures = [Unavailable("away")] * 3
    await world.keeper.start()
    try:
        await world.end(ONE)
        await world.sweep()
        assert await world.layered.read(ONE, OUT, 0, ALL) == b"x" * 20_000
        world.objects.failures = []
        await world.sweep()
        assert await world.seen.read(ONE, OUT, 0, ALL) == b"x" * 20_000
        await eventually_async(lambda: world.files.attempt_ids() == [])
    finally:
        await world.keeper.stop()


async def test_a_sweep_stores_what_an_earlier_process_did_not(world: World) -> None:
    """Compressed output and answers of functions as well; what the store does not know goes."""
    keeper = LogKeeper(world.files)
    await keeper.start()
    directory = make(world.root, ONE, b"line\n" * 100_000)
    await keeper.stored(await keeper.finish(ONE, report()))
    await eventually_async(lambda: not (directory / "stdout").exists())
    await keeper.stop()
    await ResultFiles(world.root).write(ONE, b"answer" * 100_000)
    unknown = make(world.root, TWO, b"x" * 20_000)
    await world.sweep(known=[ONE])
    await eventually_async(lambda: not directory.exists())
    assert await world.seen.read(ONE, OUT, 499_995, ALL) == b"line\n"
    assert await ObjectResults(world.objects).read(ONE) == b"answer" * 100_000
    await eventually_async(lambda: not unknown.exists())
    with pytest.raises(NotFound):
        await world.seen.size(TWO, OUT)


async def test_what_is_running_is_not_swept(world: World) -> None:
    """Nor what ended while the sweep looked at others."""
    make(world.root, ONE, b"x" * 20_000)
    await world.keeper.sweep(lambda _: True)
    assert world.objects.puts == []
    assert world.files.holds(ONE)


async def test_damaged_output_does_not_keep_an_attempt_from_ending(world: World) -> None:
    """Nor does it pass for all of it: what is left stays here."""
    directory = make(world.root, ONE, b"x" * 20_000)
    ended = await world.keeper.finish(ONE, report())
    os.truncate(directory / "stdout", 10)
    await world.keeper.ship(ended)
    await world.keeper.stored(ended)
    await world.keeper.stop()
    assert directory.exists()
    assert await world.objects.list_objects("") == []


async def test_deleted_output_is_gone_everywhere(world: World) -> None:
    """The answer of a function with it; ids that are none are ignored."""
    make(world.root, ONE, b"x" * 20_000, b"y")
    await world.end(ONE)
    await ObjectResults(world.objects).write(ONE, b"answer")
    make(world.root, TWO, b"x" * 20_000)
    await world.layered.delete([ONE, TWO, AttemptId("../x"), AttemptId("")])
    assert await world.objects.list_objects("") == []
    assert world.files.attempt_ids() == []
    assert await world.layered.size(ONE, OUT) == StreamSize()
    assert await world.layered.read(ONE, OUT, 0, 10) == b""
    with pytest.raises(NotFound):
        await ObjectResults(world.objects).read(ONE)


async def test_a_reader_never_misses_output_that_is_on_its_way(world: World) -> None:
    """It is here, or there, at every moment."""
    reads_left = 20

    async def read() -> None:
        nonlocal reads_left
        while reads_left:
            reads_left -= not world.files.holds(ONE)
            assert (await world.layered.size(ONE, OUT)).stored_bytes == 20_000
            assert await world.layered.read(ONE, OUT, 19_990, ALL) == b"x" * 10
            await anyio.lowlevel.checkpoint()

    make(world.root, ONE, b"x" * 20_000)
    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(read)
        await world.end(ONE)
