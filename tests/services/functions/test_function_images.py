"""Functions that are images, as the services see them: rules of deploys, versions, runtimes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from function_services import ADA, World, opened

from taskyard.core.errors import InvalidInput
from taskyard.core.functions.functions import BuildState, CallRequest, Language, Version
from taskyard.core.scheduling.requirements import requirements_of
from taskyard.core.tasks import IMAGE_FUNCTIONS, FunctionCall, Simulation, needed_runtime
from taskyard.services.functions.deployments import Deployment

pytestmark = pytest.mark.anyio

IMAGE = "registry.example:5000/team/f:1"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose builds run."""
    async with opened(tmp_path) as world:
        yield world


async def deploy(world: World, **members: Any) -> Version:
    """Deploy ``f`` for Ada and wait for the build."""
    function, version = await world.functions.deploy(ADA, "f", Deployment(**members))
    return await world.functions.built(ADA, function.id, version.number, 30)


async def needed(world: World, number: int | None = None) -> str:
    """What a call needs of a worker."""
    return requirements_of(
        await world.calls.prepare(ADA, "f", CallRequest(), version=number)
    ).runtime


async def test_an_image_is_a_version_like_any_other(world: World) -> None:
    """Its digest is what the builder says; the function's language is that of what is live."""
    version = await deploy(world, image=IMAGE)
    assert (version.state, version.image) == (BuildState.READY, IMAGE)
    assert version.digest == f"{IMAGE} for None"
    assert (version.language, version.bundle, version.size_bytes) == (Language.IMAGE, "", 0)
    assert (await world.functions.find(ADA.workspace, "f")).language is Language.IMAGE


async def test_calls_go_where_their_version_can_run(world: World) -> None:
    """Also after a rollback, for a version that is named, and in the next process."""
    await deploy(world, image=IMAGE)
    await deploy(world, bundle=b"x", language=Language.PYTHON)
    assert [await needed(world), await needed(world, 1), await needed(world, 2)] == [
        "function",
        IMAGE_FUNCTIONS,
        "function",
    ]
    function = await world.functions.roll_back(ADA, "f")
    assert function.language is Language.IMAGE
    assert await needed(world) == IMAGE_FUNCTIONS
    spec = await world.calls.prepare(ADA, "f", CallRequest())
    assert isinstance(spec.work, FunctionCall)
    again = World(world.store)
    await again.functions.load()
    assert await needed(again) == IMAGE_FUNCTIONS
    assert needed_runtime(Simulation(1.0)) == "simulation"


async def test_credentials_are_those_of_a_secret(world: World) -> None:
    """Resolved when the image is pulled; one that is not there fails the build."""
    version = await deploy(world, image=IMAGE, credentials="word")
    assert (version.digest, version.credentials) == (f"{IMAGE} for wordword", "word")
    failed = await deploy(world, image=IMAGE, credentials="none")
    assert failed.state is BuildState.FAILED
    assert "none" in (failed.message or "")
    assert (await world.functions.find(ADA.workspace, "f")).live_version == 1


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"image": "Not An Image"}, "image"),
        ({"image": "a@sha256:1"}, "image"),
        ({"image": IMAGE, "bundle": b"x"}, "source"),
        ({"image": IMAGE, "handler": "x.py"}, "handler"),
        ({"image": IMAGE, "dependencies": ("x",)}, "dependencies"),
        ({"image": IMAGE, "language": Language.PYTHON}, "language"),
        ({"image": IMAGE, "credentials": "\n"}, "credentials"),
        ({"bundle": b"x", "language": Language.PYTHON, "credentials": "s"}, "credentials"),
        ({"bundle": b"x", "language": Language.IMAGE}, "image"),
        ({}, "source"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    world: World, members: dict[str, Any], field: str
) -> None:
    """Nothing is stored."""
    with pytest.raises(InvalidInput) as caught:
        await deploy(world, **members)
    assert caught.value.field == field
    assert await world.functions.page(ADA, None, 10) == []


async def test_source_for_what_was_an_image_names_its_language(world: World) -> None:
    """There is nothing it could be told from."""
    await deploy(world, image=IMAGE)
    with pytest.raises(InvalidInput, match="was an image until now"):
        await deploy(world, bundle=b"x")
    assert (await deploy(world, bundle=b"x", language=Language.PYTHON)).number == 2
