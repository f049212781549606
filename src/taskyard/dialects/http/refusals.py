"""Refused requests on their way into the audit trail, in every dialect alike."""

from litestar.types import Scope

from taskyard.core.access.principals import Caller
from taskyard.core.errors import NotAllowed
from taskyard.services.engine import Engine


async def note_refusal(
    engine: Engine, dialect: str, caller: Caller, scope: Scope, error: Exception
) -> None:
    """Record it if a role was missing, unless a service has done so. Raises nothing.

    The target is the route, not the path: what is asked for may be anything.
    """
    if isinstance(error, NotAllowed):
        route = scope.get("path_template") or scope["path"]
        method = scope.get("method", "WEBSOCKET")
        await engine.audit.not_allowed(caller, error, f"{dialect}.request", f"{method} {route}")
