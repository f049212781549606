"""Both container engines, each started once for all tests here."""

from collections.abc import Iterator

import pytest

from engines import KINDS, RealEngine, real_engine


@pytest.fixture(scope="session", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine that knows busybox."""
    with real_engine(request.param) as engine:
        yield engine
