"""Both container engines, each started once for all tests here."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import KINDS, RealEngine, real_engine


@pytest.fixture(scope="session", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine that knows busybox."""
    with real_engine(request.param) as engine:
        yield engine


@pytest.fixture
def common_path() -> Iterator[Path]:
    """A directory in which commands of any user can read and write, unlike ``tmp_path``."""
    with tempfile.TemporaryDirectory(prefix="taskyard-") as name:
        place = Path(name)
        place.chmod(0o777)
        yield place
