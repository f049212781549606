"""All asynchronous tests here run on asyncio, with a supervisor that ends soon after its test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from runtime_harness import RuntimeHarness


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(params=["cgroup", "session"])
def method(request: pytest.FixtureRequest) -> str:
    """How trees are held together; cgroups only where there are any."""
    return str(request.param)


@pytest.fixture
async def harness(tmp_path: Path, method: str) -> AsyncIterator[RuntimeHarness]:
    """An open command runtime with its directories; all it runs is killed at the end."""
    harness = RuntimeHarness(tmp_path, use_cgroups=method == "cgroup")
    await harness.open()
    if method == "cgroup":
        harness.need_cgroups()
    try:
        yield harness
    finally:
        await harness.close()


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[RuntimeHarness]:
    """The same in the best way this machine offers, for what does not depend on the way."""
    harness = RuntimeHarness(tmp_path)
    await harness.open()
    try:
        yield harness
    finally:
        await harness.close()
