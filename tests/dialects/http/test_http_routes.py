"""The dialect kit: routes are found by path, and tables of errors are complete."""

from typing import Any

import pytest

from taskyard.core.errors import (
    Busy,
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
    StorageFull,
    Unavailable,
)
from taskyard.dialects.http.errors import (
    ENGINE_ERRORS,
    REQUEST_ERRORS,
    ErrorTable,
    retry_headers,
)
from taskyard.dialects.http.routes import Router, Routes


async def handler(_call: Any) -> Any:
    """Never called here."""


def router(*paths: str, head: bool = True, prefix: str = "") -> Router[Any, None]:
    """Knows GET for these paths."""
    routes = Routes[Any, None](access=None)
    for path in paths:
        routes.get(path)(handler)
    return Router(routes, prefix=prefix, head=head)


def found(router: Router[Any, None], path: str) -> tuple[str, list[str]] | None:
    """The template that a path leads to, and the named segments."""
    one = router.find(path)
    return None if one is None else (one.node.template, one.values)


def test_fixed_segments_come_before_named_ones() -> None:
    """Whatever the order of declaration; empty segments do not count."""
    known = router("/a/{id}", "/a/list", "/a/{id}/b/{other}", "/")
    assert found(known, "/a/list") == ("/a/list", [])
    assert found(known, "//a//list/") == ("/a/list", [])
    assert found(known, "/a/x") == ("/a/{id}", ["x"])
    assert found(known, "/a/x/b/y/") == ("/a/{id}/b/{other}", ["x", "y"])
    assert found(known, "/") == ("/", [])
    for path in ("/a", "/a/x/b", "/a/x/c/y", "/nope", "/a/x/b/y/z"):
        assert found(known, path) is None, path


def test_routes_are_below_a_prefix() -> None:
    """And the template names it."""
    known = router("/tasks", "/tasks/{id}", prefix="/api")
    assert found(known, "/api/tasks") == ("/api/tasks", [])
    assert found(known, "/api/tasks/x") == ("/api/tasks/{id}", ["x"])
    assert found(known, "/tasks") is None


def test_allowed_methods_are_those_of_all_routes_of_a_path() -> None:
    """HEAD where GET is, unless the dialect does not answer it; a WebSocket is none."""
    routes = Routes[Any, None](None, "/x")
    routes.get("")(handler)
    routes.on(("POST", "DELETE"), "")(handler)
    routes.socket("/ws")(handler)
    for head, first in ((True, ["GET", "HEAD"]), (False, ["GET"])):
        known: Router[Any, None] = Router(routes, head=head)
        one, socket = known.find("/x"), known.find("/x/ws")
        assert one is not None
        assert socket is not None
        assert one.node.allowed == [*first, "POST", "DELETE", "OPTIONS"]
        assert socket.node.allowed == []
    assert {method for method, _, _ in Router(routes, head=False).all()} == {
        *("GET", "POST", "DELETE", "WEBSOCKET")
    }


def test_a_table_of_errors_has_every_kind() -> None:
    """One that lacks a kind is refused when the dialect is loaded."""
    whole: dict[type[Exception], int] = dict.fromkeys((*ENGINE_ERRORS, *REQUEST_ERRORS), 1)
    ErrorTable(whole)
    for kind in whole:
        with pytest.raises(TypeError, match=kind.__name__):
            ErrorTable({one: 1 for one in whole if one is not kind})


def test_the_most_special_kind_decides() -> None:
    """Whatever the order of the table; what is of no kind is a defect."""
    entries: dict[type[Exception], str] = dict.fromkeys((*ENGINE_ERRORS, *REQUEST_ERRORS), "any")
    table = ErrorTable({**entries, Busy: "busy"})
    assert table.find(Busy("full", 1)) == "busy"
    assert table.find(Overloaded("full", 1)) == "any"
    assert table.find(StorageFull()) == table.find(NotFound("task", "x")) == "any"
    assert table.find(InvalidInput("a", "b")) == "any"
    assert table.find(ValueError()) is None


@pytest.mark.parametrize(("seconds", "sent"), [(0, b"1"), (0.2, b"1"), (1.2, b"2"), (30, b"30")])
def test_retry_after_is_whole_seconds(seconds: float, sent: bytes) -> None:
    """Never so early that it is refused once more."""
    assert retry_headers(Overloaded("full", seconds)) == ((b"retry-after", sent),)


def test_what_may_work_later_says_when() -> None:
    """A full disk does not: somebody has to make room first."""
    assert retry_headers(Unavailable()) == ((b"retry-after", b"2"),)
    assert retry_headers(StorageFull()) == ()
    assert retry_headers(Conflict()) == ()
