"""Function runtimes, held together by cgroups where there are any, and by sessions."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from function_world import FunctionWorld


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(params=["cgroup", "session"])
def method(request: pytest.FixtureRequest) -> str:
    """How trees are held together; cgroups only where there are any."""
    return str(request.param)


@pytest.fixture
async def functions(tmp_path: Path, method: str) -> AsyncIterator[FunctionWorld]:
    """An open function runtime; nothing of it is left at the end."""
    world = FunctionWorld(tmp_path, use_cgroups=method == "cgroup")
    await world.open()
    if method == "cgroup" and world.runtime.process_trees.base is None:
        await world.close()
        if os.environ.get("CI") == "true":
            pytest.fail("no writable cgroups here")
        pytest.skip("no writable cgroups here")
    try:
        yield world
    finally:
        await world.close()


@pytest.fixture
async def fast(tmp_path: Path) -> AsyncIterator[FunctionWorld]:
    """The same in the best way this machine offers, for what does not depend on the way."""
    world = FunctionWorld(tmp_path)
    await world.open()
    try:
        yield world
    finally:
        await world.close()
