"""Declares routes, and finds the one of a request.

A dialect declares its routes beside their handlers, in its ``routes_*.py``::

    routes = Routes[Call, Role](Role.READ, "/tags")

    @routes.get("/{id}")
    async def show_tag(call: Call) -> Answer:
        ...

A path is found as it stands, else segment by segment, where a fixed segment comes before a named
one. Empty segments do not count, so a slash at the end changes nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

A = TypeVar("A")
C = TypeVar("C")
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
WEBSOCKET: Final = "WEBSOCKET"
"""Stands for the method of routes that are WebSockets."""


@dataclass(frozen=True, slots=True, eq=False)
class Route(Generic[C, A]):
    """A path, the methods it is asked with, and what answers."""

    methods: tuple[str, ...]
    path: str
    """Below the dialect's prefix; ``{name}`` is a named segment."""
    handler: Callable[..., Awaitable[Any]]
    """Given the call, answers with an ASGI application that sends the answer; a WebSocket's is
    given the socket besides, and answers with nothing.
    """
    access: A
    """Who may use it, and whatever else a dialect says of its routes."""


class Routes(Generic[C, A]):
    """Routes in the order of their declaration."""

    def __init__(self, access: A, base: str = "") -> None:
        """Begin with none; ``base`` leads the paths, ``access`` is meant where none is given."""
        self._access = access
        self._base = base
        self._routes: list[Route[C, A]] = []

    def __iter__(self) -> Iterator[Route[C, A]]:
        return iter(self._routes)

    def add(
        self,
        methods: tuple[str, ...],
        path: str,
        handler: Callable[..., Awaitable[Any]],
        access: A | None = None,
    ) -> None:
        """Add a route."""
        whole = (self._base + path).rstrip("/") or "/"
        rule = self._access if access is None else access
        self._routes.append(Route(methods, whole, handler, rule))

    def on(self, methods: tuple[str, ...], path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for several methods."""

        def declare(handler: H) -> H:
            self.add(methods, path, handler, access)
            return handler

        return declare

    def get(self, path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for GET, and for HEAD where the dialect answers it."""
        return self.on(("GET",), path, access)

    def post(self, path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for POST."""
        return self.on(("POST",), path, access)

    def put(self, path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for PUT."""
        return self.on(("PUT",), path, access)

    def patch(self, path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for PATCH."""
        return self.on(("PATCH",), path, access)

    def delete(self, path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for DELETE."""
        return self.on(("DELETE",), path, access)

    def socket(self, path: str, access: A | None = None) -> Callable[[H], H]:
        """Declare a handler for a WebSocket."""
        return self.on((WEBSOCKET,), path, access)


class Node(Generic[C, A]):
    """What is known of one path."""

    __slots__ = ("children", "methods", "named", "template")

    def __init__(self) -> None:
        self.children: dict[str, Node[C, A]] = {}
        self.named: Node[C, A] | None = None
        self.methods: dict[str, tuple[Route[C, A], tuple[str, ...]]] = {}
        """Routes by method, and the names of the path's named segments."""
        self.template = "/"
        """The path as metrics and the audit trail name it."""

    @property
    def allowed(self) -> list[str]:
        """What can be asked for over HTTP; nothing where no route is."""
        found: list[str] = [one for one in METHODS if one in self.methods]
        return found and [*found, "OPTIONS"]


class Found(NamedTuple, Generic[C, A]):
    """Where a path leads."""

    node: Node[C, A]
    values: list[str]
    """The named segments."""


class Router(Generic[C, A]):
    """Finds routes by path."""

    def __init__(self, routes: Iterable[Route[C, A]], *, prefix: str = "", head: bool) -> None:
        """Know these routes below a prefix; ``head``: HEAD is answered where GET is."""
        self._fixed: dict[str, Node[C, A]] = {}
        """Paths without a named segment, as they stand."""
        self._root: Node[C, A] = Node()
        for route in routes:
            path = (prefix + route.path).rstrip("/") or "/"
            names = tuple(one[1:-1] for one in path.split("/") if one[:1] == "{")
            node = self._named(path) if names else self._fixed.setdefault(path, Node())
            node.template = path
            for method in route.methods:
                node.methods[method] = route, names
                if head and method == "GET":
                    node.methods["HEAD"] = route, names

    def all(self) -> Iterator[tuple[str, str, Callable[..., Awaitable[Any]]]]:
        """Method, path and handler of every route."""
        nodes = [*self._fixed.values(), self._root]
        for node in nodes:
            nodes += [*node.children.values(), *([node.named] if node.named else [])]
            for method, (route, _) in node.methods.items():
                yield method, node.template, route.handler

    def find(self, path: str) -> Found[C, A] | None:
        """Where a path leads; None where no route is."""
        # Most requests spell one of few paths exactly.
        node = self._fixed.get(path)
        if node is not None:
            return Found(node, [])
        segments = [one for one in path.split("/") if one]
        node = self._fixed.get("/" + "/".join(segments))
        if node is not None:
            return Found(node, [])
        node, values = self._root, []
        for one in segments:
            child = node.children.get(one)
            if child is None:
                child = node.named
                values.append(one)
            if child is None:
                return None
            node = child
        return Found(node, values) if node.methods else None

    def _named(self, path: str) -> Node[C, A]:
        node = self._root
        for one in path.split("/")[1:]:
            if one[:1] == "{":
                node.named = node = node.named or Node()
            else:
                node = node.children.setdefault(one, Node())
        return node
