"""All asynchronous tests here run on asyncio, against the real services on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from native_world import NativeWorld, opened


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[NativeWorld]:
    """A served engine whose worker does what tests say."""
    async with opened(tmp_path) as world:
        yield world


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NativeWorld]:
    """The same, one for all tests of a module that leave nothing behind which others notice."""
    async with opened(tmp_path_factory.mktemp("shared")) as world:
        yield world


@pytest.fixture
def api(world: NativeWorld) -> httpx2.AsyncClient:
    """A client with the token ``dev``."""
    return world.api
