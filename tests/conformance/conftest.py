"""What conformance suites share: the loop, and one or two clients of a store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1
from racing import Clients
from rivals import Rivals

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
def complete_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store that implements every port."""
    return str(request.param)


@pytest.fixture
async def complete_clients(complete_kind: str, tmp_path: Path) -> AsyncIterator[Clients]:
    """Two clients of an empty store of each kind that implements every port, with a worker."""
    async for both in _raced(complete_kind, tmp_path):
        yield both


@pytest.fixture(params=[False, True], ids=["in order", "turned"])
def rivals(request: pytest.FixtureRequest, complete_clients: Clients) -> Rivals:
    """Both, to race each other; each of them begins once."""
    return Rivals(complete_clients, is_turned=request.param)


@pytest.fixture
async def store(complete_clients: Clients) -> Any:
    """The first of both, for suites that bring no store of their own."""
    return complete_clients.first


@pytest.fixture
async def reopen(
    complete_kind: str, store: Any, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Close the store; answers with another one on the same data."""
    opened: list[Any] = []

    async def closed_and_opened() -> Any:
        await store.close()
        opened.append(await opened_as(complete_kind, tmp_path))
        return opened[-1]

    yield closed_and_opened
    for one in opened:
        await one.close()
