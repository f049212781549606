"""Both engines, each started once, with a runtime on each for every test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from container_harness import ContainerHarness

from engines import KINDS, RealEngine, real_engine


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture(scope="session", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine that knows busybox."""
    with real_engine(request.param) as engine:
        yield engine


@pytest.fixture
async def harness(engine: RealEngine, tmp_path: Path) -> AsyncIterator[ContainerHarness]:
    """An open container runtime; all it ran is gone afterwards."""
    harness = ContainerHarness(tmp_path, engine)
    await harness.open()
    try:
        yield harness
    finally:
        await harness.close()
