"""All asynchronous tests here run on asyncio, against a whole engine over real sockets.

One engine serves a whole module.
"""

from collections.abc import AsyncIterator

import pytest
from greencloud_world import GreenCloudWorld, opened


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GreenCloudWorld]:
    """A served engine with three accounts."""
    async with opened(tmp_path_factory.mktemp("greencloud") / "data") as world:
        yield world
