"""What conformance suites share: the loop, and two clients of one store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1
from racing import Clients

from fakes.stores import COMPLETE_STORES, STORES, opened_as, second_client


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


async def _raced(kind: str, directory: Path) -> AsyncIterator[Clients]:
    store: Any = await opened_as(kind, directory)
    try:
        await store.dispatch.join(W1)
        async with second_client(store, directory) as second:
            yield Clients(store, second)
    finally:
        await store.close()


@pytest.fixture(params=STORES)
async def clients(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Clients]:
    """Two clients of an empty store of each kind that keeps tasks, with a worker."""
    async for both in _raced(request.param, tmp_path):
        yield both


@pytest.fixture(params=COMPLETE_STORES)
async def complete_clients(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Clients]:
    """Two clients of an empty store of each kind that implements every port, with a worker."""
    async for both in _raced(request.param, tmp_path):
        yield both
