"""Functions that only the store knows: asked for together, and once."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from function_services import ADA, World, opened

from eventually import eventually_async
from taskyard.core.errors import NotFound, Unavailable
from taskyard.core.functions.functions import CallRequest, Function, FunctionId, Language
from taskyard.core.ids import PlaneId, WorkspaceName
from taskyard.core.instants import Instant
from taskyard.core.tasks import FunctionCall
from taskyard.ports.functions import FoundFunction, FunctionStore
from taskyard.services.functions.calls import FunctionNotReady
from taskyard.services.functions.deployments import Deployment
from taskyard.services.functions.lookup import MOST_NAMES, FunctionLookup

pytestmark = pytest.mark.anyio
WS = WorkspaceName("a")


class Store:
    """Has the functions that it is told to have; reads when it is let."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.readings: list[list[str]] = []
        self.go = anyio.Event()
        self.failure: Exception | None = None
        self._reads = False

    async def look_up(
        self, keys: Sequence[tuple[WorkspaceName, str]]
    ) -> list[FoundFunction | None]:
        """Never two at a time."""
        assert not self._reads
        self._reads = True
        self.readings.append([key for _, key in keys])
        there = set(self.names)
        try:
            await self.go.wait()
        finally:
            self._reads = False
        if self.failure is not None:
            raise self.failure
        return [_found(key) if key in there else None for _, key in keys]


def _found(name: str) -> FoundFunction:
    at = Instant(0)
    function = Function(FunctionId(f"id-{name}"), WS, name, Language.PYTHON, at, at)
    return FoundFunction(function, frozenset())


def lookup(store: Store) -> FunctionLookup:
    """On this store."""
    return FunctionLookup(cast("FunctionStore", store))


async def test_a_flood_of_unknown_names_is_few_readings() -> None:
    """However many ask at once; each gets its own answer."""
    store = Store("n7", "n399")
    looking = lookup(store)
    found: dict[int, FoundFunction | None] = {}

    async def ask(number: int) -> None:
        found[number] = await looking.find(WS, f"n{number % 400}")

    async with anyio.create_task_group() as group:
        for number in range(2000):
            group.start_soon(ask, number)
        await eventually_async(lambda: len(store.readings) == 1)
        store.go.set()
    there = {number for number, one in found.items() if one is not None}
    assert there == {number for number in range(2000) if number % 400 in {7, 399}}
    assert len(found) == 2000
    assert all(len(names) <= MOST_NAMES for names in store.readings)
    assert len(store.readings) <= 2000 // MOST_NAMES + 1


async def test_a_reading_begins_after_it_was_asked_for() -> None:
    """What was stored while an earlier one was on its way is found."""
    store = Store()
    looking = lookup(store)
    found: list[FoundFunction | None] = []

    async def ask() -> None:
        found.append(await looking.find(WS, "late"))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await eventually_async(lambda: len(store.readings) == 1)
        store.names.add("late")
        group.start_soon(ask)
        await anyio.lowlevel.checkpoint()
        store.go.set()
    assert [one is not None for one in found] == [False, True]


async def test_whoever_goes_away_leaves_the_reading_to_the_others() -> None:
    """Those who wait for the same one get their answers."""
    store = Store("n")
    looking = lookup(store)
    found: list[FoundFunction | None] = []

    async def ask() -> None:
        found.append(await looking.find(WS, "n"))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as first:
            group.start_soon(ask)
            await anyio.lowlevel.checkpoint()

            async def leave() -> None:
                await eventually_async(lambda: len(store.readings) == 1)
                first.cancel()
                store.go.set()

            group.start_soon(leave)
            await looking.find(WS, "n")
    assert [one is not None for one in found] == [True]


async def test_a_failure_is_that_of_all_who_waited_for_it() -> None:
    """The next reading is tried again; names that nothing can have are never looked for."""
    store = Store("n")
    store.failure = Unavailable("the database is away")
    store.go.set()
    looking = lookup(store)
    with pytest.raises(Unavailable):
        await looking.find(WS, "n")
    store.failure = None
    assert await looking.find(WS, "n") is not None
    for name in ("a\0b", "\ud800", "ä"):
        assert await looking.find(WS, name) is None
    assert store.readings == [["n"], ["n"]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One plane's services, whose builds run."""
    async with opened(tmp_path) as world:
        yield world


async def test_another_plane_asks_the_store_for_what_it_does_not_know(world: World) -> None:
    """The function, what was built since, and versions that are images."""
    other = World(world.store, plane=PlaneId("b"))
    with pytest.raises(NotFound):
        await other.functions.find(WS, "f")
    await world.deploy(b"bad")
    assert (await other.functions.find(WS, "f")).last_version == 1
    with pytest.raises(FunctionNotReady):
        await other.calls.prepare(ADA, "f", CallRequest())
    await world.deploy(b"good")
    work = (await other.calls.prepare(ADA, "f", CallRequest())).work
    assert isinstance(work, FunctionCall)
    assert (work.version, work.image) == (2, False)
    await other.functions.load()
    _, image = await world.functions.deploy(ADA, "f", Deployment(image="busybox"))
    await world.functions.built(ADA, "f", image.number, 30)
    work = (await other.calls.prepare(ADA, "f", CallRequest(), version=3)).work
    assert isinstance(work, FunctionCall)
    assert (work.version, work.image) == (3, True)


async def test_a_plane_by_itself_asks_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows everything that is stored."""

    async def look_up(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(type(world.store.functions), "look_up", look_up)
    with pytest.raises(NotFound):
        await world.functions.find(WS, "none")
    await world.deploy(b"bad")
    assert (await world.functions.find(WS, "f")).live_version is None


async def test_calls_go_on_while_a_function_is_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the change is stored it is what it was."""
    await world.deploy()
    seen = []
    change = world.store.functions.change

    async def changing(*given: Any) -> Function:
        seen.append((await world.functions.find(WS, "f")).paused)
        return await change(*given)

    async def deleting(*_: Any) -> Function:
        seen.append((await world.functions.find(WS, "f")).paused)
        raise Unavailable("the disk is slow")

    monkeypatch.setattr(world.store.functions, "change", changing)
    monkeypatch.setattr(world.store.functions, "set_deleted", deleting)
    await world.functions.pause(ADA, "f", paused=True)
    with pytest.raises(Unavailable):
        await world.functions.delete(ADA, "f")
    assert seen == [False, True]
    assert (await world.functions.find(WS, "f")).paused
