"""Building versions that are images: pulls, pins, and what is there of the worker's own."""

import pytest
from image_world import ImageWorld
from msgspec.structs import replace

from eventually import eventually_async
from taskyard.core.states import AttemptState, Reason
from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.engine.settings import ContainerSettings
from taskyard.runtimes.function.images.builder import LocalImages

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.xdist_group("containers")]


async def test_a_build_pulls_and_notes_the_digest(world: ImageWorld) -> None:
    """The steps of the pull are the lines of the log."""
    image = world.push()
    digest, log = await world.build(image)
    assert digest.startswith("sha256:")
    lines = log.splitlines()
    assert lines[0] == f"[taskyard: pulling {image}]"
    assert len(lines) > 3
    assert lines[-2:] == [f"[taskyard: pulled {image}]", f"resolved to {digest}"]
    assert await world.builder.is_built(world.version(image))
    assert not await world.builder.is_built(world.version(image, number=2))


async def test_a_tag_that_moves_changes_no_version(world: ImageWorld) -> None:
    """Calls of a version run what its tag stood for; the next version has the new one."""
    image = world.push(mark="old")
    name = image.rpartition("/")[2].partition(":")[0]
    first, _ = await world.build(image)
    assert await world.text("read /mark") == "old"
    world.push(name=name, mark="new")
    second, _ = await world.build(image, number=2)
    assert first != second
    assert await world.text("read /mark", number=2) == "new"
    await world.runtime.close()
    again = ImageWorld(world.root, world.engine, world.images)
    await again.open()
    try:
        assert await again.text("read /mark") == "old"
        assert await again.text("read /mark", number=2) == "new"
    finally:
        await again.close()


async def test_an_image_is_the_same_on_every_machine(world: ImageWorld) -> None:
    """One that its name does not stand for any more is refused where it was not pulled before."""
    image = world.push(mark="old")
    name = image.rpartition("/")[2].partition(":")[0]
    digest, _ = await world.build(image)
    version = replace(world.version(image, number=2), digest=digest)
    assert await world.builder.build(version, None, print) == digest
    world.push(name=name, mark="new")
    with pytest.raises(BuildFailed, match=f"was {digest} when this version was deployed"):
        await world.builder.build(replace(version, number=3), None, print)
    assert not await world.builder.is_built(world.version(image, number=3))


async def test_an_image_that_the_engine_lost_is_pulled_again(world: ImageWorld) -> None:
    """By its digest, though its tag stands for another one by now."""
    image = world.push(mark="old")
    name = image.rpartition("/")[2].partition(":")[0]
    await world.build(image)
    world.push(name=name, mark="new")
    world.engine.remove_image(image)
    assert await world.text("read /mark") == "old"


async def test_a_pull_that_fails_has_words(world: ImageWorld) -> None:
    """The build fails, and what was built before can be called."""
    await world.build(world.push())
    with pytest.raises(BuildFailed, match="is not on the engine and cannot be pulled"):
        await world.build(f"{world.images.host}/none-such:1", number=2)
    assert await world.text("echo") == "echo"
    ended = await world.call("echo", number=2)
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED)


async def test_an_image_of_this_machine_needs_no_registry(world: ImageWorld) -> None:
    """One whose name says no registry is used as the engine has it, and the log says so."""
    image = world.push()
    await world.build(image)
    world.engine.name_image(image, "localhost/mine")
    digest, log = await world.build("localhost/mine", number=2)
    assert digest
    assert "using localhost/mine:latest as the engine has it" in log
    assert await world.text("echo", number=2) == "echo"


async def test_a_program_that_ends_at_once_tells_why(world: ImageWorld) -> None:
    """Its last words are the output of the calls that waited for it."""
    await world.build(world.push("die"))
    ended = await world.call("echo")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.FUNCTION_ERROR)
    assert ended.message == "the container ended before it was ready (exit code 7)"
    assert b"no such table" in world.output(ended, "stderr")
    await eventually_async(lambda: world.engine.containers() == [])


async def test_a_program_that_never_connects_is_given_up(world: ImageWorld) -> None:
    """After the time for warming up, and its containers are removed."""
    world.runtime.limits = world.runtime.limits.__class__(warmup_s=1.0)
    await world.build(world.push("mute"))
    ended = await world.call("echo")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.TIMEOUT)
    assert "not ready within 1 s" in (ended.message or "")
    await eventually_async(lambda: world.engine.containers() == [])


async def test_an_image_without_the_program_cannot_start(world: ImageWorld) -> None:
    """The engine's own words tell what is missing."""
    name = world.push().rpartition("/")[2].partition(":")[0]
    world.images.push(name, "latest", "m", command=("/none",))
    await world.build(f"{world.images.host}/{name}")
    ended = await world.call("echo")
    assert (ended.state, ended.reason) == (AttemptState.FAILED, Reason.START_FAILED), ended.message
    assert "cannot be started" in (ended.message or "")
    await eventually_async(lambda: world.engine.containers() == [])


async def test_containers_of_an_earlier_life_are_removed_first(world: ImageWorld) -> None:
    """Also those that run; others on the same engine are left alone."""
    labels = {"taskyard.installation": world.runtime.installation}
    world.engine.create("stray", labels, "sleep 1000")
    world.engine.create("other", {"taskyard.installation": "other"}, "sleep 1000")
    again = ImageWorld(world.root, world.engine, world.images)
    await world.runtime.close()
    await again.open()
    await again.close()
    assert {one["Names"][0].lstrip("/") for one in world.engine.containers()} == {"other"}


async def test_strays_are_looked_for_regularly(world: ImageWorld) -> None:
    """While the runtime is open; its own containers go on."""
    await world.build(world.push())
    assert (await world.call("echo")).state is AttemptState.SUCCEEDED
    own = {one["Id"] for one in world.engine.containers()}
    labels = {"taskyard.installation": world.runtime.installation}
    world.engine.create("stray", labels, "sleep 1000", start=False)
    await eventually_async(lambda: {one["Id"] for one in world.engine.containers()} == own)
    assert own


async def test_without_an_engine_a_build_says_so(world: ImageWorld) -> None:
    """Whether it is away, switched off, or on another machine."""
    for engine, words in (
        (f"unix://{world.root}/none", "no container engine"),
        ("off", "switched off"),
    ):
        builder = LocalImages(world.root / "f", ContainerSettings(engine=engine), 10.0)
        with pytest.raises(BuildFailed, match=f"no tool chain for image.*{words}"):
            await builder.build(world.version("busybox"), None, lambda _line: None)
