"""All asynchronous tests here run on asyncio."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"
