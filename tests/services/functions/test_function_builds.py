"""Building: one after another, in turns, cut off, damaged, and what is live meanwhile."""

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from function_services import ADA, BOB, World, opened

from eventually import eventually_async
from taskyard.core.errors import NotFound, Overloaded
from taskyard.core.functions.functions import (
    BuildState,
    Function,
    Language,
)
from taskyard.core.ids import WorkspaceName
from taskyard.services.functions.builds import BuildLimits
from taskyard.services.functions.deployments import Deployment

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """See :func:`opened`."""
    async with opened(tmp_path) as world:
        yield world


async def test_a_failed_build_leaves_the_version_before_it_live(world: World) -> None:
    """And says why; its log is kept."""
    assert (await world.deploy()).state is BuildState.READY
    failed = await world.deploy(b"bad")
    assert (failed.state, failed.message) == (BuildState.FAILED, "it is bad")
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 1
    log = await world.functions.log(ADA, "f", 2)
    assert log.text == "seen\nfailed: it is bad\n"
    assert (await world.deploy()).number == 3
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 3


async def test_builds_of_one_function_follow_each_other(world: World) -> None:
    """However many are deployed at once; the last one is live in the end."""
    world.builder.go = anyio.Event()
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(world.functions.deploy, ADA, "f", given)
    world.builder.go.set()
    await world.functions.built(ADA, "f", 4, 30)
    assert world.builder.begun == [1, 2, 3, 4]
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 4


async def test_a_damaged_build_is_built_again(world: World) -> None:
    """Once, for all who ask at the same time; it stays ready and live, and so does another one."""
    first, second = await world.deploy(), await world.deploy()
    await world.functions.roll_back(ADA, "f")
    assert first.state is second.state is BuildState.READY
    world.builder.built.clear()
    world.builder.go = anyio.Event()
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(await world.functions.rebuild(ADA.workspace, second.function_id, 2))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
            while len(world.builder.begun) < 3:
                await checkpoint()
            stored = await world.store.functions.version(ADA.workspace, second.function_id, 2)
            assert stored.state is BuildState.READY
            assert (await world.functions.version(ADA, "f", 2)).state is BuildState.BUILDING
            world.builder.go.set()
    assert answers == [True, True]
    assert world.builder.begun == [1, 2, 2]
    assert world.builder.built == {(second.function_id, 2)}
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 1
    log = await world.functions.log(ADA, "f", 2)
    assert log.text == "its files were missing or damaged: built again\nseen\nbuilt\n"
    with pytest.raises(NotFound):
        await world.functions.rebuild(BOB.workspace, second.function_id, 2)


async def test_a_build_that_cannot_be_built_again_has_failed(world: World) -> None:
    """And says so; it is tried again, but not by every call. It stays live."""
    version = await world.deploy()
    world.builder.built.clear()
    bundles = cast("Any", world.functions)._bundles.kept
    good = dict(bundles)
    bundles[version.bundle] = b"bad"
    rebuild = partial(world.functions.rebuild, ADA.workspace, version.function_id, 1)
    assert not await rebuild()
    assert not await rebuild()
    assert world.builder.begun == [1, 1]
    failed = await world.functions.version(ADA, "f", 1)
    assert failed.state is BuildState.FAILED
    assert failed.message == "its files were damaged, and it could not be built again: it is bad"
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 1
    bundles.update(good)
    world.functions._builds._not_before.clear()
    assert await rebuild()
    assert (await world.functions.version(ADA, "f", 1)).state is BuildState.READY


async def test_what_is_live_and_damaged_is_built_again_at_start(tmp_path: Path) -> None:
    """Before it is called; what is sound is left alone."""
    async with opened(tmp_path) as world:
        version = await world.deploy()
    async with opened(tmp_path) as world:
        bundles = cast("Any", world.functions)._bundles
        bundles.kept = {hashlib.sha256(b"x").hexdigest(): b"x"}
        await eventually_async(lambda: world.builder.built)
        assert world.builder.built == {(version.function_id, 1)}


async def test_one_workspace_does_not_keep_another_from_building(world: World) -> None:
    """Who has all places, and many builds waiting, costs the others nothing."""
    world.builder.go, world.builder.at_once_allowed = anyio.Event(), 3
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    for number in range(5):
        await world.functions.deploy(ADA, f"f{number}", given)
    function, _ = await world.functions.deploy(BOB, "g", given)
    with anyio.fail_after(30):
        while world.builder.at_once < 3:
            await checkpoint()
    assert (await world.functions.version(BOB, "g", 1)).state is BuildState.BUILDING
    waiting = await world.functions.version(ADA, "f4", 1)
    assert waiting.state is BuildState.PENDING
    expected = "waiting for one of 2 places for builds: 3 under way, 2 of this workspace ahead"
    assert waiting.message == expected
    log = await world.functions.log(ADA, "f4", 1)
    assert (
        log.text
        == "waiting for one of 2 places for builds: 2 under way, 2 of this workspace ahead\n"
    )
    world.builder.go.set()
    assert (await world.functions.built(BOB, function.id, 1, 30)).message is None
    assert (await world.functions.built(ADA, "f4", 1, 30)).message is None


async def test_a_workspace_has_no_more_than_its_share_of_builds_waiting(world: World) -> None:
    """Beyond it nothing is stored; the others go on deploying, and so does it later on."""
    world.functions._builds._limits = BuildLimits(at_once=2, waiting=3)
    world.builder.go, world.builder.at_once_allowed = anyio.Event(), 3
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    refused: list[Overloaded] = []

    async def deploy(number: int) -> None:
        try:
            await world.functions.deploy(ADA, f"f{number}", given)
        except Overloaded as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        for number in range(9):
            group.start_soon(deploy, number)
    # Those that came at once were let in before it was known that two of them need not wait.
    assert len(refused) == 9 - 3
    await deploy(10)
    await deploy(11)
    await deploy(12)
    assert len(refused) == 9 - 3 + 1
    assert str(refused[-1]).startswith("3 builds are waiting in this workspace, and 3 may")
    assert 1.0 <= refused[-1].retry_after_s <= 60.0
    assert len(await world.functions.page(ADA, None, 99)) == 5
    assert (await world.functions.deploy(BOB, "g", given))[1].number == 1
    world.builder.go.set()
    await world.functions.built(ADA, "f11", 1, 30)
    await deploy(12)
    assert len(refused) == 9 - 3 + 1


async def test_a_later_version_says_that_it_waits_for_the_earlier_one(world: World) -> None:
    """However many places there are."""
    world.builder.go = anyio.Event()
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    for _ in range(2):
        await world.functions.deploy(ADA, "f", given)
    waiting = await world.functions.version(ADA, "f", 2)
    assert waiting.message == "waiting for the build of version 1 of this function"
    world.builder.go.set()
    assert (await world.functions.built(ADA, "f", 2, 30)).message is None


async def stored_build(world: World, monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """Let a build be stored, and nobody hear of it before the event that is answered."""
    world.builder.go = anyio.Event()
    given = Deployment(bundle=b"x", language=Language.PYTHON)
    function, _ = await world.functions.deploy(ADA, "f", given)
    heard, read = anyio.Event(), world.store.functions.function

    async def late(workspace: WorkspaceName, key: str) -> Function:
        found = await read(workspace, key)
        await heard.wait()
        return found

    monkeypatch.setattr(world.store.functions, "function", late)
    world.builder.go.set()
    await eventually_async(
        lambda: world.store.functions.version(ADA.workspace, function.id, 1),
        lambda version: version.state is BuildState.READY,
    )
    return heard


async def test_a_build_has_succeeded_once_it_can_be_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when its end is on disk, which is a little earlier."""
    heard = await stored_build(world, monkeypatch)
    early = await world.functions.version(ADA, "f", 1)
    assert (early.state, early.finished_at) == (BuildState.BUILDING, None)
    assert (await world.functions.versions(ADA, "f", None, 9)) == [early]
    assert (await world.functions.find(ADA.workspace, "f")).live_version is None
    heard.set()
    assert (await world.functions.built(ADA, "f", 1, 30)).state is BuildState.READY
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 1


async def test_a_build_does_not_bring_a_deleted_function_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor an older state of a changed one."""
    heard = await stored_build(world, monkeypatch)
    function_id = (await world.functions.find(ADA.workspace, "f")).id
    await world.functions.delete(ADA, "f")
    log = world.functions._builds.log(function_id, 1)
    assert log is not None
    heard.set()
    with anyio.fail_after(30):
        await log.finished.wait()
    with pytest.raises(NotFound):
        await world.functions.find(ADA.workspace, "f")


async def test_a_build_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    """By the next process."""
    async with opened(tmp_path) as world:
        world.builder.go = anyio.Event()
        given = Deployment(bundle=b"x", language=Language.PYTHON)
        await world.functions.deploy(ADA, "f", given)
    async with opened(tmp_path) as world:
        world.functions._bundles.kept = {hashlib.sha256(b"x").hexdigest(): b"x"}  # type: ignore[attr-defined]  # of the fake

        async def is_live() -> bool:
            return (await world.functions.find(ADA.workspace, "f")).live_version is not None

        await eventually_async(is_live)


async def test_old_builds_are_retired(world: World) -> None:
    """All but the newest few, and the live one."""
    for number in range(9):
        await world.deploy(str(number).encode())
    await eventually_async(lambda: len(world.builder.built) <= 5)
    versions = await world.functions.versions(ADA, "f", None, 20)
    assert {one.number for one in versions if one.state is BuildState.READY} == {5, 6, 7, 8, 9}
