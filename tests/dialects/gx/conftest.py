"""All asynchronous tests here run on asyncio, against a whole engine over real sockets.

One engine serves a whole module; each test has workspaces of its own.
"""

from collections.abc import AsyncIterator
from itertools import count

import pytest
from gx_world import GxWorld, Space, opened

_names = count(1)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GxWorld]:
    """A served engine whose simulations are quick."""
    async with opened(tmp_path_factory.mktemp("gx") / "data") as world:
        yield world


@pytest.fixture
def space(world: GxWorld) -> Space:
    """A new workspace of the key ``dev``."""
    return world.space(f"space-{next(_names)}")
