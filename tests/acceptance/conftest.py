"""Both container engines, each started once for all tests here."""

from collections.abc import Iterator

import pytest

from engines import RealEngine, real_engine


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("podman", marks=pytest.mark.podman),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine that knows busybox."""
    with real_engine(request.param) as engine:
        yield engine
