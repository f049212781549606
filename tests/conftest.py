"""What all tests share: the fakes can be imported, how hard Hypothesis tries, what comes first."""

import os

import pytest
from hypothesis import HealthCheck, settings

# No deadline: machines that run tests are shared, and a slow example is not a wrong one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest first: at the end no worker waits for another one that has just begun.

    Workers take the groups with the most tests, and then single tests in this order. All tests on
    container engines are in two groups, one for each of two workers: ``containers``, of the
    runtime, and ``engines``, of served ones.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
