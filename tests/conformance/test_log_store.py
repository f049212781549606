"""What every log store promises, checked on the files and on a model in memory."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import anyio
import pytest
from anyio.abc import TaskGroup

from eventually import eventually_async
from taskyard.core.attempts import StreamSize
from taskyard.core.ids import AttemptId, PlaneId
from taskyard.core.output_index import RECORD_BYTES, STDOUT, encode
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.output import ObjectOutput
from taskyard.ports.logs import LogStore, Stream
from taskyard.services.tasks.output_sources import LayeredOutput
from taskyard.transport.local import LocalMessageHub, local_message_hub
from taskyard.transport.planes.output import PlaneOutput
from taskyard.worker.output.log_files import LogFiles

pytestmark = pytest.mark.anyio

ONE = AttemptId("01988a00-0000-7000-8000-000000000001")
TWO = AttemptId("01988a00-0000-7000-8000-000000000002")
LIMIT = 100_000
OUT, ERR = Stream.STDOUT, Stream.STDERR


class World(Protocol):
    """A log store, and the work that writes into it."""

    store: LogStore

    def write(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """What the work does."""
        ...

    def record(self, attempt_id: AttemptId, index: bytes) -> None:
        """What its runtime adds to the index of the order."""
        ...


class MemoryLogs:
    """The model: streams are byte strings."""

    def __init__(self) -> None:
        self._streams: dict[tuple[AttemptId, Stream], bytearray] = {}
        self.orders: dict[AttemptId, bytes] = {}
        self._grown = anyio.Event()

    def add(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """Append."""
        self._streams.setdefault((attempt_id, stream), bytearray()).extend(data)
        self._grown.set()
        self._grown = anyio.Event()

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See the port."""
        length = len(self._streams.get((attempt_id, stream), b""))
        return StreamSize(min(length, LIMIT), max(0, length - LIMIT))

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See the port."""
        kept = self._streams.get((attempt_id, stream), bytearray())[:LIMIT]
        return bytes(kept[offset : offset + max(length, 0)]) if offset >= 0 else b""

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""
        index = self.orders.get(attempt_id)
        return None if index is None else index[offset : offset + length]

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See the port."""
        before = await self._total(attempt_id) if seen_bytes is None else seen_bytes
        with anyio.move_on_after(timeout_s):
            while await self._total(attempt_id) == before:
                await self._grown.wait()
            return True
        return False

    async def _total(self, attempt_id: AttemptId) -> int:
        return sum([(await self.size(attempt_id, stream)).stored_bytes for stream in Stream])

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See the port."""
        for attempt_id in attempt_ids:
            for stream in Stream:
                self._streams.pop((attempt_id, stream), None)
            self.orders.pop(attempt_id, None)


class MemoryWorld:
    """The model."""

    def __init__(self) -> None:
        self.memory = MemoryLogs()
        self.store: LogStore = self.memory

    def write(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """Append."""
        self.memory.add(attempt_id, stream, data)

    def record(self, attempt_id: AttemptId, index: bytes) -> None:
        """Append."""
        self.memory.orders[attempt_id] = self.memory.orders.get(attempt_id, b"") + index


class FilesWorld:
    """Attempt directories, written to as the work does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: LogStore = LogFiles(root)

    def write(self, attempt_id: AttemptId, stream: Stream, data: bytes) -> None:
        """Append, having made the attempt first."""
        directory = self.root / attempt_id
        if not directory.exists():
            directory.mkdir()
            (directory / "meta.json").write_text(json.dumps({"log_limit_bytes": LIMIT, "x": 1}))
        with (directory / stream).open("ab") as file:
            file.write(data)

    def record(self, attempt_id: AttemptId, index: bytes) -> None:
        """Append."""
        with (self.root / attempt_id / "order").open("ab") as file:
            file.write(index)


class LayeredWorld(FilesWorld):
    """Attempt directories first, objects behind them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "attempts")
        self.root.mkdir()
        objects = ObjectOutput(FileObjectStore(root / "objects"))
        self.store = LayeredOutput(LogFiles(self.root), objects)


class PlanesWorld(FilesWorld):
    """Attempts run beside another control plane."""

    def __init__(self, root: Path, hub: LocalMessageHub, tasks: TaskGroup) -> None:
        super().__init__(root / "there")
        self.root.mkdir()
        here, there = hub.plane(PlaneId("here")), hub.plane(PlaneId("there"))
        own = LogFiles(root / "here")
        objects = ObjectOutput(FileObjectStore(root / "objects"))
        remote = PlaneOutput(here, self._plane_of, own, tasks)
        PlaneOutput(there, self._plane_of, LogFiles(self.root), tasks)
        self.store = LayeredOutput(own, objects, remote)

    async def _plane_of(self, attempt_id: AttemptId) -> PlaneId | None:
        return PlaneId("there") if attempt_id in {ONE, TWO} else None


@pytest.fixture(params=["memory", "files", "layered", "planes"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Each store in turn."""
    if request.param == "planes":
        async with local_message_hub() as hub, anyio.create_task_group() as tasks:
            yield PlanesWorld(tmp_path, hub, tasks)
            tasks.cancel_scope.cancel()
        return
    worlds: dict[str, Callable[[], World]] = {
        "memory": MemoryWorld,
        "files": lambda: FilesWorld(tmp_path),
        "layered": lambda: LayeredWorld(tmp_path),
    }
    yield worlds[request.param]()


async def test_unknown_attempts_are_empty(world: World) -> None:
    """An attempt nobody heard of reads as empty streams."""
    for attempt_id in (ONE, AttemptId("../../etc"), AttemptId(""), AttemptId("x" * 5000)):
        assert await world.store.size(attempt_id, OUT) == StreamSize()
        assert await world.store.read(attempt_id, OUT, 0, 10) == b""
        assert await world.store.changed(attempt_id, 0.01) is False
        await world.store.delete([attempt_id])


async def test_streams_are_read_by_offset(world: World) -> None:
    """Any part can be read; parts past the end are short or empty."""
    world.write(ONE, OUT, b"hello ")
    world.write(ONE, OUT, b"world")
    world.write(ONE, ERR, b"oh")
    world.write(TWO, OUT, b"other")
    read = world.store.read
    assert await read(ONE, OUT, 0, 100) == b"hello world"
    assert await read(ONE, OUT, 6, 3) == b"wor"
    assert await read(ONE, OUT, 8, 100) == b"rld"
    assert await read(ONE, OUT, 11, 1) == b""
    assert await read(ONE, OUT, 9000, 1) == b""
    assert await read(ONE, OUT, 0, 0) == b""
    assert await read(ONE, OUT, -3, 2) == b""
    assert await read(ONE, ERR, 0, 9) == b"oh"
    assert await world.store.size(ONE, OUT) == StreamSize(11, 0)
    assert await world.store.size(TWO, ERR) == StreamSize()


async def test_limit_cuts_the_stream_off(world: World) -> None:
    """Beyond the limit nothing can be read, and what is dropped is counted."""
    world.write(ONE, OUT, b"a" * LIMIT + b"b" * 70)
    assert await world.store.size(ONE, OUT) == StreamSize(LIMIT, 70)
    assert await world.store.read(ONE, OUT, LIMIT - 2, 50) == b"aa"
    assert await world.store.read(ONE, OUT, LIMIT, 50) == b""
    assert await world.store.read(ONE, OUT, 0, 2 * LIMIT) == b"a" * LIMIT


async def test_changed_answers_when_either_stream_grows(world: World) -> None:
    """Growth wakes all waiters of the attempt, others sleep on."""
    world.write(ONE, OUT, b"a")
    world.write(TWO, OUT, b"a")
    answers: list[bool] = []

    async def wait(attempt_id: AttemptId, timeout_s: float) -> None:
        answers.append(await world.store.changed(attempt_id, timeout_s))

    for stream in Stream:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(wait, ONE, 10)
                await anyio.wait_all_tasks_blocked()
                world.write(ONE, stream, b"b")
    assert answers == [True] * 40
    assert await world.store.changed(TWO, 0.05) is False


async def test_changed_answers_at_once_if_something_else_was_seen(world: World) -> None:
    """Growth between looking and waiting is not missed."""
    world.write(ONE, OUT, b"abc")
    world.write(ONE, ERR, b"de")
    with anyio.fail_after(10):
        assert await world.store.changed(ONE, 1000, 4) is True
        assert await world.store.changed(ONE, 0.05, 5) is False


async def test_changed_sees_the_first_bytes(world: World) -> None:
    """One may wait for an attempt that has not written, or does not exist yet."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(world.store.changed, ONE, 1000, 0)
            await anyio.wait_all_tasks_blocked()
            world.write(ONE, OUT, b"a")


async def test_growth_beyond_the_limit_is_none(world: World) -> None:
    """Followers sleep while bytes are dropped."""
    world.write(ONE, OUT, b"a" * LIMIT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.store.changed, ONE, 0.1)
        await anyio.wait_all_tasks_blocked()
        world.write(ONE, OUT, b"a")
        assert await world.store.changed(ONE, 0.1, LIMIT) is False


async def test_the_order_is_read_by_offset(world: World) -> None:
    """As it grows, a torn record included; None is not the same as nothing yet."""
    world.write(ONE, OUT, b"a")
    assert await world.store.order(ONE, 0, 100) is None
    assert await world.store.order(AttemptId("../../etc"), 0, 100) is None
    world.record(ONE, b"")
    assert await world.store.order(ONE, 0, 100) == b""
    world.record(ONE, encode(1, 1, STDOUT) + b"torn")
    world.write(TWO, OUT, b"a")
    world.record(TWO, encode(2, 1, STDOUT))
    assert await world.store.order(ONE, 0, 100) == encode(1, 1, STDOUT) + b"torn"
    assert await world.store.order(ONE, RECORD_BYTES, 2) == b"to"
    assert await world.store.order(ONE, 100, 2) == b""
    await world.store.delete([ONE])

    async def is_gone() -> bool:
        return await world.store.order(ONE, 0, 100) is None

    await eventually_async(is_gone)
    assert await world.store.order(TWO, 0, 100) == encode(2, 1, STDOUT)


async def test_deleted_output_is_gone(world: World) -> None:
    """Deleting removes both streams of the attempts named, and nothing else."""
    for attempt_id in (ONE, TWO):
        world.write(attempt_id, OUT, b"a")
        world.write(attempt_id, ERR, b"b")
    await world.store.delete([ONE, AttemptId("01988a00-0000-7000-8000-00000000ffff")])
    await world.store.delete([ONE])
    assert await world.store.size(ONE, OUT) == StreamSize()
    assert await world.store.read(ONE, ERR, 0, 5) == b""
    assert await world.store.read(TWO, ERR, 0, 5) == b"b"
