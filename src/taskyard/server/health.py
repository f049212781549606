"""Liveness and readiness of the server."""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from litestar import Request, Response, Router, get
from msgspec import Struct

Checks = Callable[[], dict[str, bool]]
"""What has to be true for the server to be ready, by name."""


_REASONS: Final = {
    "store": "the server is stopping",
    "disk": "the disk of the data directory is nearly full: tasks are refused",
    "worker": "no worker has joined yet, or none is left",
    "database": "PostgreSQL cannot be reached or does not answer: nothing can be stored",
    "lease": "the lease of the worker beside could not be renewed: what it runs is killed, and it"
    " joins again once the database answers",
    "nats": "NATS cannot be reached: other control planes are asked nothing, and hear of what"
    " happens here half a second later",
}
"""What a check that failed means."""
_GOES_ON_WITHOUT: Final = frozenset({"nats"})
"""What is shown, but leaves a server ready: all control planes at once may be without it, and each
still stores, answers and runs what it is given."""


class Health(Struct, omit_defaults=True):
    """The answer of ``/health``."""

    live: bool
    ready: bool
    checks: dict[str, bool]
    reasons: dict[str, str] = {}
    """Of checks that failed: what that means."""
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
        failed = [name for name, is_good in found.items() if not is_good]
        is_ready = _GOES_ON_WITHOUT.issuperset(failed)
        reasons = {name: _REASONS[name] for name in failed}
        return _answer(Health(True, is_ready, found, reasons, dev, isolation, warnings))

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
