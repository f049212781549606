"""Both engines, each started once, with a runtime for images on each for every test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from image_world import ImageWorld

from engines import KINDS, RealEngine, real_engine
from registry import Registry, registry
from taskyard.runtimes.function import completion


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call takes long enough to be followed: little output comes with the end of each."""
    monkeypatch.setattr(completion, "_LINK_AFTER_S", 300.0)


@pytest.fixture(scope="session", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine."""
    with real_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="session")
def images() -> Iterator[Registry]:
    """A registry that anybody may pull from."""
    with registry() as found:
        yield found


@pytest.fixture
async def world(engine: RealEngine, images: Registry, tmp_path: Path) -> AsyncIterator[ImageWorld]:
    """An open runtime for functions that are images; nothing of it is left at the end."""
    world = ImageWorld(tmp_path, engine, images)
    await world.open()
    try:
        yield world
    finally:
        await world.close()
        engine.clear()
