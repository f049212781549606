"""Tokens, users and secrets: through a running server, or in the data directory without one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from taskyard.cli import exit_status
from taskyard.cli.connection import Connection, check_workspace, open_client
from taskyard.cli.environment import Environment, read_environment
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.target import control_socket, find_target, read_server_file
from taskyard.sdk import Client
from taskyard.sdk.models import Token, User

if TYPE_CHECKING:
    from taskyard.core.access.principals import Caller
    from taskyard.core.ids import WorkspaceName
    from taskyard.server.local_store import LocalStore

T = TypeVar("T")
DEFAULT_WORKSPACE = "default"
INSTALLATION = "*"
"""Takes the place of the workspace for what belongs to the installation."""


@contextmanager
def administering(
    connection: Connection, *, installation: bool = False
) -> Iterator[tuple[Client, str | None]]:
    """A client, and the workspace to name to it; None for the credential's own.

    Unlike in other commands, the credential may be one of the installation: the server decides.
    """
    workspace = named(connection, installation=installation)
    target = find_target(connection.url, connection.token, connection.data, read_environment())
    with open_client(target, connection.workspace if target.local else None) as client:
        if connection.workspace is not None and not target.local:
            check_workspace(client, connection.workspace, for_installation=True)
        yield client, workspace


def named(connection: Connection, *, installation: bool) -> str | None:
    """The workspace of a command; None for the credential's own. Raises ``UsageError``."""
    if installation and connection.workspace is not None:
        raise UsageError("--installation and --workspace exclude each other")
    return INSTALLATION if installation else connection.workspace


def role_of(role: str | None, installation: bool) -> str:
    """The role that flags mean. Raises ``UsageError``."""
    if role is None and not installation:
        raise UsageError("give the role with --role: read, write, operate or admin")
    return role or "admin"


def create_token(
    connection: Connection,
    name: str,
    role: str,
    expires_in_s: float | None,
    *,
    installation: bool = False,
) -> Token:
    """Create a token, one of the installation if asked for; its secret is in ``token``."""
    workspace = named(connection, installation=installation)

    async def offline(stores: "LocalStore", caller: "Caller") -> Token:
        from taskyard.core.access.principals import Role  # noqa: PLC0415 - only without a server
        from taskyard.core.instants import to_datetime  # noqa: PLC0415 - as above

        stored, secret = await stores.access.create_token(
            caller, name, Role[role.upper()], _where(caller, workspace), expires_in_s
        )
        return Token(
            stored.id,
            stored.name,
            stored.role.word,
            stored.workspace,
            to_datetime(stored.created_at),
            None if stored.expires_at is None else to_datetime(stored.expires_at),
            token=secret,
        )

    return _either(
        connection,
        lambda client: client.create_token(name, role, expires_in_s, workspace),
        offline,
    )


def add_user(
    connection: Connection, name: str, password: str, role: str, *, installation: bool = False
) -> User:
    """Add a user, one of the installation if asked for."""
    workspace = named(connection, installation=installation)

    async def offline(stores: "LocalStore", caller: "Caller") -> User:
        from taskyard.core.access.principals import Role  # noqa: PLC0415 - only without a server
        from taskyard.core.instants import to_datetime  # noqa: PLC0415 - as above

        stored = await stores.access.add_user(
            caller, name, password, Role[role.upper()], _where(caller, workspace)
        )
        return User(stored.name, stored.role.word, stored.workspace, to_datetime(stored.created_at))

    return _either(
        connection, lambda client: client.add_user(name, password, role, workspace), offline
    )


def set_secret(connection: Connection, name: str, value: str) -> None:
    """Store a secret, or replace it."""

    async def offline(stores: "LocalStore", caller: "Caller") -> None:
        await stores.secrets.put(caller, name, value)

    _either(connection, lambda client: client.set_secret(name, value), offline)


def _where(caller: "Caller", workspace: str | None) -> "WorkspaceName":
    from taskyard.core.ids import WorkspaceName  # noqa: PLC0415 - only without a server

    return caller.workspace if workspace is None else WorkspaceName(workspace)


def _either(
    connection: Connection,
    online: Callable[[Client], T],
    offline: Callable[["LocalStore", "Caller"], Awaitable[T]],
) -> T:
    """Ask the server if one is named or runs on the data directory; else open the store itself."""
    environment = read_environment()
    data = _directory(connection, environment)
    if data is not None:
        server = read_server_file(data)
        if server is None or control_socket(data, server) is None:
            return _without_server(data, connection.workspace or DEFAULT_WORKSPACE, offline)
    with administering(connection) as (client, _):
        return online(client)


def _directory(connection: Connection, environment: Environment) -> Path | None:
    """The data directory to work on; None when a server is named or a credential given."""
    if connection.url or connection.token:
        return None
    if connection.data:
        return Path(connection.data)
    named = environment.url or environment.config.url or environment.token or environment.user
    return None if named else Path(environment.data)


def _without_server(
    data: Path, workspace: str, work: Callable[["LocalStore", "Caller"], Awaitable[T]]
) -> T:
    import anyio  # noqa: PLC0415 - only without a server

    from taskyard.core.access.principals import Caller, Role  # noqa: PLC0415 - as above
    from taskyard.core.errors import (  # noqa: PLC0415 - as above
        Conflict,
        InvalidInput,
        StoreInUse,
        TaskyardError,
    )
    from taskyard.core.ids import WorkspaceName  # noqa: PLC0415 - as above

    caller = Caller("command line", WorkspaceName(workspace), Role.ADMIN, installation=Role.ADMIN)

    async def open_and_work() -> T:
        async with _stores(data) as stores:
            return await work(stores, caller)

    try:
        return anyio.run(open_and_work)
    except InvalidInput as error:
        raise CommandError(str(error), exit_status.INVALID) from error
    except Conflict as error:
        raise CommandError(str(error)) from error
    except StoreInUse as error:
        process = (
            f" by process {error.owner['pid']}" if error.owner and "pid" in error.owner else ""
        )
        raise CommandError(
            f"data directory {data} is in use{process}, a server that is starting, or does not"
            " answer at its control socket",
            exit_status.TRY_AGAIN,
            what_to_do="Try again in a few seconds; or name the server with --url and --token.",
        ) from error
    except TaskyardError as error:
        raise CommandError(str(error), exit_status.TROUBLE) from error


@asynccontextmanager
async def _stores(data: Path) -> AsyncIterator["LocalStore"]:
    from taskyard.server.local_store import LocalStore  # noqa: PLC0415 - loads the whole store

    async with LocalStore(data) as stores:
        yield stores
