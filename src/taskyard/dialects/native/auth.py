"""Who is calling: credentials of a connection, and the control socket's implicit one."""

import re
from typing import Final

from litestar.types import Scope

from taskyard.core.access.principals import Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.http.requests import LOCAL_KEY, address_of
from taskyard.dialects.native.errors import malformed
from taskyard.services.access.accounts import DEFAULT_WORKSPACE, LOCAL
from taskyard.services.engine import Engine

WORKSPACE_HEADER: Final = b"taskyard-workspace"
_WORKSPACE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


async def caller_of(engine: Engine, scope: Scope, token: str | None = None) -> Caller:
    """The caller of a connection.

    ``token`` is a credential that came in the query, used when there is no ``Authorization``.
    On the control socket no credential is needed, and ``Taskyard-Workspace`` picks the workspace.

    Raises ``NotAuthenticated``, ``Overloaded``, or ``ProblemError`` for a workspace that cannot be.
    """
    access, address = engine.access, address_of(scope)
    for name, value in scope["headers"]:
        if name == b"authorization":
            header = value.decode("latin-1")
            # A credential seen before costs a look-up and no turn of the loop.
            caller = access.known(header, address)
            return caller or await access.authenticate(header, address)
    if token is not None:
        return access.known_token(token, address) or await access.authenticate_token(token, address)
    if LOCAL_KEY in scope["state"]:
        return _local_caller(scope)
    return await access.authenticate(None, address)


def _local_caller(scope: Scope) -> Caller:
    workspace = DEFAULT_WORKSPACE
    for name, value in scope["headers"]:
        if name == WORKSPACE_HEADER:
            workspace = WorkspaceName(value.decode("latin-1"))
            if not _WORKSPACE.match(workspace):
                raise malformed("Taskyard-Workspace does not name a workspace")
    return Caller(LOCAL, workspace, Role.ADMIN, installation=Role.ADMIN)
