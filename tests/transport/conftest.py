"""What tests of transports share: the loop."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The loop the service uses."""
    return "asyncio"
