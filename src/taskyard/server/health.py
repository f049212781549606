"""Liveness and readiness of the server."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from litestar import Request, Response, Router, get
from msgspec import Struct

Checks = Callable[[], dict[str, bool]]
"""What has to be true for the server to be ready, by name."""


class Health(Struct, omit_defaults=True):
    """The answer of ``/health``."""

    live: bool
    ready: bool
    checks: dict[str, bool]
    dev: bool = False
    """Whether the well-known credentials of ``--dev`` are valid."""
    isolation: Literal["users", "sandbox", "none"] | None = None
    """What keeps commands from the server and from those of other workspaces: a user for each
    workspace, a sandbox, or nothing."""
    warnings: tuple[str, ...] = ()
    """What the operator should know."""


def health_router(
    checks: Checks,
    *,
    dev: bool,
    isolation: Literal["users", "sandbox", "none"] | None = None,
    warnings: tuple[str, ...] = (),
) -> Router:
    """``/health``, ``/health/live`` and ``/health/ready``; none needs a credential."""

    @get(["/health", "/health/ready"], include_in_schema=False, sync_to_thread=False)
    def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
        del request
        found = checks()
        return _answer(Health(True, all(found.values()), found, dev, isolation, warnings))

    @get("/health/live", include_in_schema=False, sync_to_thread=False)
    def live() -> Response[bytes]:
        return Response(b'{"live":true}', media_type="application/json", headers=_NO_STORE)

    return Router("/", route_handlers=[ready, live])


_NO_STORE = {"cache-control": "no-store"}


def _answer(health: Health) -> Response[bytes]:
    return Response(
        msgspec.json.encode(health),
        status_code=200 if health.ready else 503,
        media_type="application/json",
        headers=_NO_STORE,
    )
