"""Builds where several control planes share a store: who builds what, and where."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup
from function_services import ADA, Bundles, World

from eventually import eventually_async
from fakes.clock import VirtualClock
from taskyard.core.errors import Conflict, Unavailable
from taskyard.core.functions.functions import BuildState, Language, Version
from taskyard.core.ids import PlaneId
from taskyard.services.functions.deployments import Deployment
from taskyard.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.anyio
GIVEN = Deployment(bundle=b"x", language=Language.PYTHON)


class Planes:
    """Control planes on one store, with the same bundles and builders of their own."""

    def __init__(self, store: SqliteStore, tasks: TaskGroup) -> None:
        self.clock = VirtualClock()
        self._store = store
        self._tasks = tasks
        self._bundles = Bundles()
        self.bundles = self._bundles.kept

    async def begin(self, name: str) -> World:
        """One more; it builds."""
        world = World(self._store, bundles=self._bundles, plane=PlaneId(name), clock=self.clock)
        await self.learn(world)
        self._tasks.start_soon(world.functions.run)
        await eventually_async(lambda: world.functions._builds._group is not None)
        return world

    async def learn(self, world: World) -> None:
        """Have a plane know of all functions, as changes tell it."""
        await world.functions.load()


@pytest.fixture
async def planes(tmp_path: Path) -> AsyncIterator[Planes]:
    """None yet."""
    async with _opened(tmp_path) as planes:
        yield planes


@asynccontextmanager
async def _opened(directory: Path) -> AsyncIterator[Planes]:
    store = SqliteStore(directory)
    await store.open()
    try:
        async with anyio.create_task_group() as tasks:
            yield Planes(store, tasks)
            tasks.cancel_scope.cancel()
    finally:
        await store.close()


async def stored(world: World, version: Version) -> Version:
    """A version as the store has it."""
    return await world.store.functions.version(ADA.workspace, version.function_id, version.number)


async def test_a_version_is_built_where_it_was_deployed(planes: Planes) -> None:
    """Alone, however long that takes; and elsewhere when a call needs it there."""
    here, there = await planes.begin("a"), await planes.begin("b")
    here.builder.go = anyio.Event()
    _, version = await here.functions.deploy(ADA, "f", GIVEN)
    await eventually_async(lambda: here.builder.begun == [1])
    for _ in range(10):
        planes.clock.set(20)
        await here.functions._builds._look()
        await there.functions._builds._look()
    assert there.builder.begun == []
    assert (await stored(there, version)).state is BuildState.BUILDING
    here.builder.go.set()
    await here.functions.built(ADA, "f", 1, 30)
    await planes.learn(there)
    assert await there.functions.rebuild(ADA.workspace, version.function_id, 1)
    assert there.builder.built == {(version.function_id, 1)}
    assert (await stored(here, version)).state is BuildState.READY
    assert (await here.functions.log(ADA, "f", 1)).text == "seen\nbuilt\n"


async def test_who_waits_elsewhere_learns_of_the_end(planes: Planes) -> None:
    """And of the log; before, that another plane has it."""
    here, there = await planes.begin("a"), await planes.begin("b")
    here.builder.go = anyio.Event()
    await here.functions.deploy(ADA, "f", GIVEN)
    await eventually_async(lambda: here.builder.begun == [1])
    await planes.learn(there)
    assert "another control plane builds it" in (await there.functions.log(ADA, "f", 1)).text
    found: list[Version] = []

    async def wait() -> None:
        found.append(await there.functions.built(ADA, "f", 1, 30))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        here.builder.go.set()
        await here.functions.built(ADA, "f", 1, 30)

        def told() -> bool:
            planes.clock.advance(0.25)
            return bool(found)

        await eventually_async(told)
    assert found[0].state is BuildState.READY
    assert (await there.functions.log(ADA, "f", 1)).text == "seen\nbuilt\n"


async def test_what_a_plane_has_left_is_built_by_another(planes: Planes) -> None:
    """Once its time is over; what it says late changes nothing."""
    here = await planes.begin("a")
    here.builder.go = anyio.Event()
    bad = Deployment(bundle=b"bad", language=Language.PYTHON)
    _, version = await here.functions.deploy(ADA, "f", bad)
    await eventually_async(lambda: here.builder.begun == [1])
    planes.bundles[version.bundle] = b"x"
    there = await planes.begin("b")
    planes.clock.set(59)
    await there.functions._builds._take_up(0.0)
    assert there.builder.begun == []
    planes.clock.set(2)
    await there.functions._builds._take_up(0.0)
    await planes.learn(there)
    await there.functions.built(ADA, "f", 1, 30)
    assert there.builder.begun == [1]
    assert (await stored(there, version)).state is BuildState.READY
    here.builder.go.set()
    await eventually_async(lambda: here.functions._builds.log(version.function_id, 1) is None)
    assert (await stored(there, version)).state is BuildState.READY


async def test_what_nobody_has_begun_is_taken_up(planes: Planes) -> None:
    """Such as when the plane has died that was asked to deploy it; young ones may yet be begun."""
    here = await planes.begin("a")
    here.functions._builds._group = None
    _, version = await here.functions.deploy(ADA, "f", GIVEN)
    here.functions._builds._logs.clear()
    there = await planes.begin("b")
    planes.clock.set(1)
    await eventually_async(lambda: there.builder.begun == [1])
    await there.functions.load()
    await there.functions.built(ADA, "f", 1, 30)
    assert (await stored(there, version)).state is BuildState.READY


async def test_a_version_that_cannot_be_built_here_is_ready_elsewhere(planes: Planes) -> None:
    """Who calls it here is told why; it is tried again, but not by every call."""
    here, there = await planes.begin("a"), await planes.begin("b")
    version = await here.deploy()
    await planes.learn(there)
    good = dict(planes.bundles)
    planes.bundles[version.bundle] = b"bad"
    for _ in range(2):
        with pytest.raises(Conflict, match="it is bad"):
            await there.functions.rebuild(ADA.workspace, version.function_id, 1)
    assert there.builder.begun == [1]
    assert (await stored(there, version)).state is BuildState.READY
    planes.bundles.update(good)
    planes.clock.set(61)
    for _ in range(2):
        assert await there.functions.rebuild(ADA.workspace, version.function_id, 1)


async def test_a_build_that_the_store_kept_from_its_end_is_not_taken_for_one(
    planes: Planes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is ready elsewhere, and still not here; the next call has it built."""
    here, there = await planes.begin("a"), await planes.begin("b")
    version = await here.deploy()
    await planes.learn(there)
    builder = there.functions._builds._version_builder

    async def away(*_: object) -> object:
        raise Unavailable("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(builder, "make", away)
        with pytest.raises(Unavailable, match="the store is away"):
            await there.functions.rebuild(ADA.workspace, version.function_id, 1)
    assert await there.functions.rebuild(ADA.workspace, version.function_id, 1)
    assert there.builder.begun == [1]


async def test_retired_builds_go_from_every_machine(planes: Planes) -> None:
    """Those that are not needed any more; what is in use stays."""
    here, there = await planes.begin("a"), await planes.begin("b")
    version = await here.deploy(b"0")
    await planes.learn(there)
    assert await there.functions.rebuild(ADA.workspace, version.function_id, 1)
    for number in range(1, 8):
        await here.deploy(str(number).encode())
    await planes.learn(there)
    assert await there.functions.rebuild(ADA.workspace, version.function_id, 8)
    await eventually_async(lambda: len(here.builder.built) == 5)
    await there.functions._builds._look()
    assert there.builder.built == {(version.function_id, 8)}
