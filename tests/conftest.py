"""What all tests share: the fakes, how hard Hypothesis tries, tools by marker, what comes first."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

# No deadline: machines that run tests are shared, and a slow example is not a wrong one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")

TOOLS = {
    "golang": ("go",),
    "ruby": ("ruby", "bundle"),
    "rust": ("cargo", "rustc", "cc"),
    "mono": ("mcs", "mono"),
}
"""Programs that tests with a marker need."""


@pytest.fixture(autouse=True)
def _needs_tools(request: pytest.FixtureRequest) -> None:
    for marker in request.node.iter_markers():
        for tool in TOOLS.get(marker.name, ()):
            if shutil.which(tool) is None:
                assert os.environ.get("CI") != "true", f"continuous integration needs {tool}"
                pytest.skip(f"there is no {tool} here")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest first: at the end no worker waits for another one that has just begun.

    Workers take the groups with the most tests, and then single tests in this order. All tests on
    container engines are in two groups, which two workers take: ``containers``, of the
    runtime, and ``engines``, of served ones.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
