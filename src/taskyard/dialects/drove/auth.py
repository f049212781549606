"""Who is calling, and what the four roles of the dialect let them do.

Nothing is inherited: a role that an action does not list is refused. The engine's roles stand for
them one by one. Executors and maintenance concern all workspaces: besides the dialect's role,
these need a role of the installation.
"""

from enum import StrEnum
from typing import Final

from litestar.types import Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotAllowed, NotAuthenticated
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.drove.settings import DroveSettings
from taskyard.dialects.http.requests import address_of
from taskyard.services.access.accounts import DEFAULT_WORKSPACE
from taskyard.services.engine import Engine


class DroveRole(StrEnum):
    """By the names that the dialect's own configuration has for them."""

    ROOT = "EXTERNAL_ROOT"
    READ_WRITE = "EXTERNAL_READ_WRITE"
    MAINTENANCE = "DROVE_EXTERNAL_MAINTENANCE"
    READ_ONLY = "EXTERNAL_READ_ONLY"


ALL: Final = frozenset(DroveRole)
PUBLIC: Final[frozenset[DroveRole]] = frozenset()
"""Marks routes that ask for no credential."""
WRITERS: Final = frozenset({DroveRole.ROOT, DroveRole.READ_WRITE})
MAINTAINERS: Final = frozenset({DroveRole.ROOT, DroveRole.MAINTENANCE})
LOG_READERS: Final = frozenset({DroveRole.ROOT, DroveRole.READ_WRITE, DroveRole.READ_ONLY})
_ROLES: Final = {
    Role.ADMIN: DroveRole.ROOT,
    Role.OPERATE: DroveRole.MAINTENANCE,
    Role.WRITE: DroveRole.READ_WRITE,
    Role.READ: DroveRole.READ_ONLY,
}
_WORKSPACE: Final = WorkspaceName(DEFAULT_WORKSPACE)


async def caller_of(engine: Engine, settings: DroveSettings, scope: Scope) -> Caller:
    """Whose request this is. Raises ``NotAuthenticated`` or ``Overloaded``."""
    address = address_of(scope)
    if settings.anonymous:
        return Caller("anonymous", _WORKSPACE, Role.ADMIN, address, None, Role.ADMIN)
    headers = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(headers) != 1:
        raise NotAuthenticated
    scheme, _, credential = headers[0].decode("latin-1").strip().partition(" ")
    known = {"basic": "Basic", "bearer": "Bearer"}.get(scheme.lower())
    if known is None:
        raise NotAuthenticated
    header = f"{known} {credential.strip()}"
    return engine.access.known(header, address) or await engine.access.authenticate(header, address)


def role_of(caller: Caller) -> DroveRole:
    """A caller's role in this dialect.

    Credentials of the installation have nothing to do with tasks: they maintain, or read.
    """
    if caller.is_of_installation:
        may_change = (caller.installation or 0) >= Role.OPERATE
        return DroveRole.MAINTENANCE if may_change else DroveRole.READ_ONLY
    return _ROLES[caller.role]


def check_role(caller: Caller, allowed: frozenset[DroveRole]) -> None:
    """Raise ``NotAllowed`` unless the caller has one of these roles."""
    role = role_of(caller)
    if role not in allowed:
        raise NotAllowed(f"{caller.actor} has the role {role.value}")
