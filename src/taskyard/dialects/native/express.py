"""The few routes that are asked for all the time, found without the router.

Litestar's router, its middleware and its handling of arguments cost about as much as all that a
submit does besides. Our handlers need nothing of it: they decode and answer by themselves. So a
request for a route that is declared ``hot`` goes to its handler at once; everything else, and
every path that is not spelled exactly so, goes the usual way.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.native.operation import OPERATION_KEY, Operation


@dataclass(frozen=True, slots=True)
class HotRoute:
    """One hot route."""

    template: str
    """Its path as the metrics name it."""
    fixed: tuple[tuple[int, str], ...]
    """Segments that are always the same, by position."""
    named: tuple[tuple[int, str], ...]
    """Names of the others."""
    serve: Callable[[Any, Scope, Receive], Awaitable[ASGIApp]]
    controller: object

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """The named segments of a path that has as many; None if it is another route's."""
        for position, text in self.fixed:
            if segments[position] != text:
                return None
        found = {name: segments[position] for position, name in self.named}
        return found if all(found.values()) else None


def express(app: Litestar) -> ASGIApp:
    """An application in front of which its hot routes are found."""
    hot = _hot_routes(app)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" in scope:
            segments = scope["path"].split("/")
            for route in hot.get((str(scope.get("method")), len(segments)), ()):
                parameters = route.match(segments)
                if parameters is not None:
                    scope["litestar_app"] = app
                    scope["path_params"] = parameters
                    scope["path_template"] = route.template
                    answer = await route.serve(route.controller, scope, receive)
                    return await answer(scope, receive, send)
        return await app(scope, receive, send)

    return serve


def _hot_routes(app: Litestar) -> dict[tuple[str, int], list[HotRoute]]:
    """By method and number of segments."""
    found: dict[tuple[str, int], list[HotRoute]] = {}
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            described = handler.opt.get(OPERATION_KEY)
            method = handler.fn
            if not isinstance(described, Operation) or not described.hot:
                continue
            if not isinstance(method, MethodType):
                raise TypeError(f"{described.name} is no method of a controller")
            segments = ["", *route.path_components]
            hot = HotRoute(
                route.path_format,
                tuple((n, one) for n, one in enumerate(segments) if isinstance(one, str)),
                tuple((n, one.name) for n, one in enumerate(segments) if not isinstance(one, str)),
                described.serve,
                method.__self__,
            )
            for verb in handler.http_methods:
                found.setdefault((verb, len(segments)), []).append(hot)
    return found
