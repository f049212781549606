"""Hot routes: found without the router, and never where the router would find another."""

import pytest
from litestar import Litestar

from taskyard.dialects.native.dialect import native_router
from taskyard.dialects.native.express import HotRoute, _hot_routes


@pytest.fixture
def routes() -> dict[str, HotRoute]:
    """All of them, by path."""
    found = _hot_routes(Litestar([native_router("/api/v1")], openapi_config=None))
    assert {method for method, _ in found} == {"POST"}
    return {route.template: route for some in found.values() for route in some}


def test_submits_and_calls_are_hot(routes: dict[str, HotRoute]) -> None:
    """Their paths are those that the router knows, and the metrics name."""
    assert set(routes) == {"/api/v1/tasks", "/api/v1/functions/{function}/calls"}


def test_a_path_is_matched_segment_by_segment(routes: dict[str, HotRoute]) -> None:
    """Named segments are given by name; an empty one is nobody's."""
    route = routes["/api/v1/functions/{function}/calls"]
    assert route.match(["", "api", "v1", "functions", "f", "calls"]) == {"function": "f"}
    assert route.match(["", "api", "v1", "functions", "f", "pause"]) is None
    assert route.match(["", "api", "v1", "functions", "", "calls"]) is None
    assert routes["/api/v1/tasks"].match(["", "api", "v1", "tasks"]) == {}
