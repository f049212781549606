"""Object stores for tests of what stands on them."""

from collections.abc import AsyncIterator

import pytest

from object_stores import Postgres, in_database


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
async def place() -> AsyncIterator[Postgres]:
    """An empty database with the tables of objects."""
    async with in_database() as place:
        yield place
