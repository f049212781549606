"""Numbered lists on a real store: interleavings, and stores that fail before or after a call."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from list_world import KEY, LIMIT, ListWorld, listing

from eventually import eventually_async
from fakes.engine import CALLER, READER
from fakes.faults import Faults, When
from taskyard.core.errors import NotAllowed, NotFound, Unavailable
from taskyard.core.lists import ListStatus
from taskyard.core.states import AttemptState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ListWorld]:
    """An open list, two of which run at once."""
    async with listing(tmp_path) as world:
        await world.open()
        yield world


async def settled(world: ListWorld) -> dict[int, str]:
    """The list once the engine came to rest."""
    with anyio.fail_after(10):
        before: Any = None
        while before != (before := await world.look()):
            for _ in range(5):
                await anyio.sleep(0.002)
                await world.world.complete()
    return {number: status.value for number, status in before.items()}


async def until(world: ListWorld, expected: dict[int, str]) -> None:
    """Return once the list is that."""

    async def look() -> bool:
        return await settled(world) == expected

    await eventually_async(look)


async def test_life_of_a_list(world: ListWorld) -> None:
    """Creates, starts, ends, a withdrawal and a flush, each shown at once."""
    for _ in range(5):
        await world.add()
    await until(world, {1: "running", 2: "running", 3: "queued", 4: "queued", 5: "queued"})
    await world.lists.withdraw(CALLER, KEY, 4)
    world.gone.add(4)
    assert 4 not in await world.look()
    (worker,) = world.world.transport.workers.values()
    first, second = worker.held
    await worker.end(first)
    await until(world, {1: "completed", 2: "running", 3: "running", 5: "queued"})
    await worker.end(second, AttemptState.FAILED)
    await until(world, {1: "completed", 2: "failed", 3: "running", 5: "running"})
    await world.lists.flush(CALLER, KEY)
    world.gone.update({1, 2, 3, 5})
    assert await world.look() == {}
    assert await world.add() == 6


async def test_a_reader_changes_nothing(world: ListWorld) -> None:
    """It may not add, withdraw or flush."""
    await world.add()
    with pytest.raises(NotAllowed):
        await world.lists.withdraw(READER, KEY, 1)
    with pytest.raises(NotAllowed):
        await world.lists.flush(READER, KEY)
    assert len(await world.look()) == 1


async def test_many_readers_of_a_new_list_share_one_read(tmp_path: Path) -> None:
    """It is read once; if that fails, all are told, and the next one reads it again."""
    faults = Faults()
    async with listing(tmp_path, faults) as world:
        await world.open()
        await world.add()
        faults.called.clear()
        found: list[Any] = []

        async def look() -> None:
            try:
                found.append(await world.lists.look(KEY))
            except Unavailable as error:
                found.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(look)
        assert faults.called == ["SqlLists.entries"]
        assert len({id(one) for one in found}) == 1
    faults = Faults(0, When.AFTER)
    async with listing(tmp_path, faults) as world:
        found = []
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(look)
        assert {type(one) for one in found} == {Unavailable}
        world.answered.add(1)
        assert list(await world.look()) == [1]


async def test_a_list_nobody_looks_at_is_let_go(
    world: ListWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is watched stays in memory; another is read again when it is asked for."""
    monkeypatch.setattr("taskyard.services.lists.LISTS_IN_MEMORY", 0)
    await world.add()
    shown = await world.lists.look(KEY)
    shown.watchers.add(lambda: None)
    await world.lists.tidy()
    assert await world.lists.look(KEY) is shown
    shown.watchers.clear()
    await world.lists.tidy()
    again = await world.lists.look(KEY)
    assert again is not shown
    assert again.entries.keys() == shown.entries.keys()


async def day(world: ListWorld) -> None:  # noqa: C901 - a script
    """A script that touches everything; what fails is told to the client, who goes on."""
    (worker,) = world.world.transport.workers.values()

    async def try_(call: Awaitable[Any]) -> bool:
        try:
            await call
        except (Unavailable, NotFound):
            return False
        return True

    await try_(world.open())
    await world.open()
    for turn in range(4):
        for _ in range(3):
            await try_(world.add())
        for _ in range(3):
            try:
                await world.look()
            except Unavailable:
                continue
        number = max(world.answered)
        world.excused.add(number)
        if await try_(world.lists.withdraw(CALLER, KEY, number)):
            world.gone.add(number)
        for attempt_id in list(worker.held)[: turn % 3]:
            await worker.end(attempt_id)
        if turn == 2:
            shown = await world.lists.look(KEY)
            dispatched = {n for n, one in shown.entries.items() if one.status != "queued"}
            world.excused |= world.answered
            if await try_(world.lists.flush(CALLER, KEY, cancel=True)):
                world.gone |= dispatched
        await world.world.complete()


@pytest.mark.parametrize("when", When)
async def test_one_failing_call_shows_nothing_illegal(tmp_path: Path, when: When) -> None:
    """Each call to the list store fails once, before or after; in the end memory is the store."""
    number, total = 0, 1
    while number < total:
        faults = Faults(number, when)
        faults.armed = True
        async with listing(tmp_path / f"{when}-{number}", faults) as world:
            try:
                await day(world)
                faults.armed = False
                await settled(world)
                shown = await world.lists.look(KEY)
                stored = await world.store.lists.entries(KEY)
                assert {n: (one.status, one.name) for n, one in shown.entries.items()} == {
                    one.number: (one.status, one.name) for one in stored
                }
            except BaseException as error:
                error.add_note(f"call {number} failed {when}: {faults.called[number:][:1]}")
                raise
        total = max(total, len(faults.called))
        number += 1
    assert total >= 15


async def test_cancelled_create_is_still_told_of(world: ListWorld) -> None:
    """A client that leaves in the middle leaves no task that nobody sees."""
    await world.look()
    for turns in range(12):
        with anyio.CancelScope() as scope:

            async def add() -> None:
                await world.add()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(add)
                for _ in range(turns):
                    await checkpoint()
                scope.cancel()
        shown = await world.lists.look(KEY)
        stored = await world.store.lists.entries(KEY)
        assert list(shown.entries) == [one.number for one in stored]
    shown = await world.lists.look(KEY)
    running = [one for one in shown.entries.values() if one.status is ListStatus.RUNNING]
    assert len(running) <= LIMIT
