"""All asynchronous tests here run on asyncio, against the real services on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from drove_world import DroveWorld, opened


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[DroveWorld]:
    """A served engine whose workers do what tests say."""
    async with opened(tmp_path) as world:
        yield world
