"""Both container engines, each started once for all tests here."""

import os
from collections.abc import Iterator

import pytest
from town import Town

from engines import KINDS, RealEngine, real_engine
from served import Served


@pytest.fixture(scope="session", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[RealEngine]:
    """A running engine that knows busybox."""
    with real_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Started once: what the attacker does must leave no trace anyhow."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root rights")
        pytest.skip("needs root rights")
    served = Served(tmp_path_factory.mktemp("town") / "data")
    served.start()
    served.await_ready()
    try:
        town = Town(served)
        yield town
        town.victim.http.post(f"/tasks/{town.task}/cancel", json={"grace_s": 0})
        for tenant in (town.victim, town.attacker):
            tenant.http.close()
    finally:
        served.stop()
