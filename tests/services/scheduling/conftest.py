"""Several control planes, for the files of tests that have no world of their own."""

from collections.abc import AsyncIterator

import pytest
from planes_world import Plane, Planes, planes


@pytest.fixture
async def world() -> AsyncIterator[Planes]:
    """No planes yet."""
    async with planes() as one:
        yield one


@pytest.fixture
async def two(world: Planes) -> tuple[Plane, Plane]:
    """The first leads; each has a worker beside it with room for two."""
    first, second = world.plane("one"), world.plane("two")
    await first.worker("w1", 2)
    await second.worker("w2", 2)
    await first.lead()
    return first, second
