"""All asynchronous tests here run on asyncio, with a shepherd that ends soon after its test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pasture import Pasture


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(params=["cgroup", "session"])
def method(request: pytest.FixtureRequest) -> str:
    """How trees are held together; cgroups only where there are any."""
    return str(request.param)


@pytest.fixture
async def pasture(tmp_path: Path, method: str) -> AsyncIterator[Pasture]:
    """An open command runtime with its directories; all it runs is killed at the end."""
    pasture = Pasture(tmp_path, use_cgroups=method == "cgroup")
    await pasture.open()
    if method == "cgroup":
        pasture.need_cgroups()
    try:
        yield pasture
    finally:
        await pasture.close()


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Pasture]:
    """The same in the best way this machine offers, for what does not depend on the way."""
    pasture = Pasture(tmp_path)
    await pasture.open()
    try:
        yield pasture
    finally:
        await pasture.close()
