"""Makes an ASGI application of a dialect and its routes. For every request:

1. find the route; where none is, ``OPTIONS`` is answered, anything else refused;
2. have the dialect find the caller (``Dialect.enter``);
3. have the route's handler ask the engine;
4. answer, also to what any of these raised (``Dialect.refuse``).
"""

from collections.abc import Iterable
from typing import TypeVar

from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.http.dialect import Dialect
from taskyard.dialects.http.routes import WEBSOCKET, Found, Route, Router
from taskyard.dialects.http.sockets import Socket, refuse_upgrade

A = TypeVar("A")
C = TypeVar("C")


def application(
    dialect: Dialect[C, A],
    routes: Iterable[Route[C, A]],
    *,
    base: str = "",
    otherwise: ASGIApp | None = None,
) -> ASGIApp:
    """The application of a dialect.

    Args:
        dialect: whose it is.
        routes: all it has.
        base: leads the paths of all routes.
        otherwise: what is given the requests for paths without a route; refused when None.
    """
    router: Router[C, A] = Router(routes, prefix=base, head=dialect.head)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        found = router.find(scope["path"])
        if found is None and otherwise is not None:
            return await otherwise(scope, receive, send)
        if "method" not in scope:
            return await _serve_socket(dialect, found, scope, receive, send)
        method = str(scope.get("method"))
        known = None if found is None else found.node.methods.get(method)
        if found is None or known is None:
            allowed = [] if found is None else found.node.allowed
            if method == "OPTIONS" and allowed:
                answer = await dialect.options(scope, allowed)
            else:
                answer = dialect.no_route(scope, allowed)
            return await answer(scope, receive, send)
        route, names = known
        _enter(scope, found, names)
        try:
            call = await dialect.enter(route, scope, receive)
            reply: ASGIApp = await route.handler(call)
        except Exception as error:  # noqa: BLE001 - the top of a request
            reply = await dialect.refuse(route, scope, error)
        return await reply(scope, receive, send)

    return serve


async def _serve_socket(
    dialect: Dialect[C, A],
    found: Found[C, A] | None,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    # ASGI servers wait for this before they take an answer.
    await receive()
    known = None if found is None else found.node.methods.get(WEBSOCKET)
    if found is None or known is None:
        allowed = [] if found is None else found.node.allowed
        return await refuse_upgrade(scope, send, dialect.no_socket(scope, allowed))
    route, names = known
    _enter(scope, found, names)
    socket = Socket(scope, receive, send)
    try:
        call = await dialect.enter(route, scope, receive)
        await route.handler(call, socket)
    except Exception as error:
        if socket.is_open:
            raise
        await socket.refuse(await dialect.refuse(route, scope, error))


def _enter(scope: Scope, found: Found[C, A], names: tuple[str, ...]) -> None:
    scope["path_params"] = dict(zip(names, found.values, strict=True)) if names else {}
    scope["path_template"] = found.node.template
