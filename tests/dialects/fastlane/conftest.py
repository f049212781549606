"""All asynchronous tests here run on asyncio, against the real services on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastlane_world import FastlaneWorld, opened


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FastlaneWorld]:
    """The dialect with its default settings, but short back-offs."""
    async with opened(
        tmp_path, retry_backoff_min_ms=10, webhook_backoff_min_ms=20, debug=False
    ) as world:
        yield world


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FastlaneWorld]:
    """The same, one for all tests of a module that look at nothing but jobs of their own."""
    place = tmp_path_factory.mktemp("shared")
    async with opened(
        place, retry_backoff_min_ms=10, webhook_backoff_min_ms=20, debug=False
    ) as world:
        yield world
