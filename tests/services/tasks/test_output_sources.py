"""Output is read wherever it is, also while it moves."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from taskyard.core.attempts import StreamSize
from taskyard.core.errors import NotFound, StoreDamaged, Unavailable
from taskyard.core.ids import AttemptId
from taskyard.objects.files.store import FileObjectStore
from taskyard.objects.output import ObjectOutput
from taskyard.ports.errors import Unreachable
from taskyard.ports.logs import Stream
from taskyard.ports.objects import StoredObject, output_key
from taskyard.services.tasks import output_sources
from taskyard.services.tasks.output_sources import AwaitedOutput, LayeredOutput
from taskyard.worker.output.log_files import LogFiles

pytestmark = pytest.mark.anyio
ONE = AttemptId("01988a00-0000-7000-8000-000000000001")
OUT, ERR = Stream.STDOUT, Stream.STDERR


class OtherPlane:
    """What runs beside another control plane."""

    def __init__(self) -> None:
        self.output: bytes | None = None
        self.error: Exception | None = None
        self.asked: Callable[[], Awaitable[None]] | None = None
        """Called before each answer."""
        self.grown = anyio.Event()

    async def _held(self) -> bytes:
        if self.asked is not None:
            await self.asked()
        if self.error is not None:
            raise self.error
        if self.output is None:
            raise NotFound("output", ONE)
        return self.output

    async def size(self, attempt_id: AttemptId, stream: Stream) -> StreamSize:
        """See the port."""
        del attempt_id
        return StreamSize(len(await self._held()) if stream is OUT else 0)

    async def read(self, attempt_id: AttemptId, stream: Stream, offset: int, length: int) -> bytes:
        """See the port."""
        del attempt_id, stream
        return (await self._held())[offset : offset + length]

    async def order(self, attempt_id: AttemptId, offset: int, length: int) -> bytes | None:
        """See the port."""
        del attempt_id, offset, length
        await self._held()
        return None

    async def changed(
        self, attempt_id: AttemptId, timeout_s: float, seen_bytes: int | None = None
    ) -> bool:
        """See the port."""
        del attempt_id
        with anyio.move_on_after(timeout_s):
            while len(await self._held()) == seen_bytes:
                await self.grown.wait()
            return True
        return False

    async def delete(self, attempt_ids: list[AttemptId]) -> None:
        """See the port."""
        del attempt_ids


class World:
    """One attempt, which may be in three places."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "attempts" / ONE
        (root / "attempts").mkdir()
        self.files = LogFiles(root / "attempts", poll_s=0.001, idle_poll_s=0.001)
        self.objects = FileObjectStore(root / "objects")
        self.elsewhere = OtherPlane()
        self.layered = LayeredOutput(self.files, ObjectOutput(self.objects), self.elsewhere)

    async def end(self) -> None:
        """What runs elsewhere has ended: it is an object, and not there any more."""
        await self.objects.put(output_key(ONE, "stdout"), self.elsewhere.output or b"")
        self.elsewhere.output = None

    def write(self, data: bytes) -> None:
        """It runs here and writes."""
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "stdout").open("ab") as file:
            file.write(data)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The attempt is nowhere."""
    return World(tmp_path)


async def test_what_runs_elsewhere_is_read_there(world: World) -> None:
    """Until it has ended; then it is an object."""
    world.elsewhere.output = b"abc"
    for _ in range(2):
        assert await world.layered.size(ONE, OUT) == StreamSize(3)
        assert await world.layered.size(ONE, ERR) == StreamSize()
        assert await world.layered.read(ONE, OUT, 1, 9) == b"bc"
        assert await world.layered.order(ONE, 0, 9) is None
        if world.elsewhere.output is not None:
            await world.end()


async def test_what_is_here_is_read_here(world: World) -> None:
    """Nobody else is asked."""

    async def asked() -> None:
        pytest.fail("it was asked for elsewhere")

    world.elsewhere.asked = asked
    world.write(b"abc")
    assert await world.layered.size(ONE, OUT) == StreamSize(3)
    assert await world.layered.size(ONE, ERR) == StreamSize()
    assert await world.layered.read(ONE, OUT, 1, 9) == b"bc"


async def test_output_that_ends_while_it_is_looked_for_is_found(world: World) -> None:
    """It was no object yet, and is not there any more."""
    world.elsewhere.output = b"abc"
    world.elsewhere.asked = world.end
    assert await world.layered.read(ONE, OUT, 0, 9) == b"abc"


async def test_a_plane_that_is_away_is_told(world: World) -> None:
    """Instead of that there is no output; to those who wait there is nothing at present."""
    waiting = AwaitedOutput(world.layered)
    world.elsewhere.output, world.elsewhere.error = b"abc", Unreachable("away")
    for ask in (
        world.layered.size(ONE, OUT),
        world.layered.read(ONE, OUT, 0, 9),
        world.layered.order(ONE, 0, 9),
    ):
        with pytest.raises(Unreachable, match="away"):
            await ask
    assert await waiting.size(ONE, OUT) == StreamSize()
    assert await waiting.read(ONE, OUT, 0, 9) == b""
    assert await waiting.order(ONE, 0, 9) == b""
    assert await waiting.changed(ONE, 0.05, 0) is False
    world.elsewhere.error = None
    assert await waiting.read(ONE, OUT, 0, 9) == b"abc"


async def test_damage_here_is_made_good_by_the_object(world: World) -> None:
    """It is told only if there is none."""
    world.directory.mkdir()
    (world.directory / "stdout.gz").write_bytes(b"nonsense")
    (world.directory / "stdout.gz.json").write_text(
        '{"size_bytes": 3, "dropped_bytes": 0, "member_bytes": 1048576, "ends": [8]}'
    )
    with pytest.raises(StoreDamaged):
        await world.layered.read(ONE, OUT, 0, 9)
    await world.objects.put(output_key(ONE, "stdout"), b"abc")
    assert await world.layered.read(ONE, OUT, 0, 9) == b"abc"


async def test_growth_is_noticed_wherever_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing was to be seen when the waiting began."""
    monkeypatch.setattr(output_sources, "_LOOK_AGAIN_S", 0.01)
    layered = world.layered

    async def elsewhere_begins() -> None:
        world.elsewhere.output = b"a"

    async def elsewhere_grows() -> None:
        world.elsewhere.output = b"ab"
        world.elsewhere.grown.set()

    async def here_begins() -> None:
        world.write(b"a")

    for seen, happens in ((0, elsewhere_begins), (1, elsewhere_grows), (2, world.end)):
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(layered.changed, ONE, 0.1 if seen == 2 else 1000, seen)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(happens)
    assert await layered.read(ONE, OUT, 0, 9) == b"ab"
    await layered.delete([ONE])
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(layered.changed, ONE, 1000, 0)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(here_begins)
    assert await layered.changed(ONE, 0.05, 1) is False


async def test_output_is_looked_for_first_where_it_was_found_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower of what runs elsewhere does not ask for objects all the time."""
    asked: list[str] = []
    listed = world.objects.list_objects

    async def listing(prefix: str, **page: Any) -> list[StoredObject]:
        asked.append(prefix)
        return await listed(prefix, **page)

    monkeypatch.setattr(world.objects, "list_objects", listing)
    world.elsewhere.output = b"abc"
    for _ in range(5):
        assert await world.layered.read(ONE, OUT, 0, 9) == b"abc"
        assert await world.layered.size(ONE, ERR) == StreamSize()
    assert len(asked) == 1
    await world.end()
    assert await world.layered.read(ONE, OUT, 0, 9) == b"abc"
    assert len(asked) == 2


async def test_what_is_deleted_is_gone_although_objects_are_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left there is swept: its task has been deleted by then."""

    async def away(keys: list[str]) -> None:
        raise Unavailable(f"away: {len(keys)}")

    monkeypatch.setattr(world.objects, "delete", away)
    world.write(b"abc")
    await world.layered.delete([ONE])
    assert not world.files.holds(ONE)
