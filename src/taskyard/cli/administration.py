"""Tokens, users and secrets: through a running server, or in the data directory without one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from taskyard.cli import exits
from taskyard.cli.configuration import Surroundings, look_around
from taskyard.cli.connection import Connection, open_client
from taskyard.cli.errors import Stop
from taskyard.cli.target import control_socket, find_target, read_server_file
from taskyard.sdk.client import Client
from taskyard.sdk.models import Token, User

if TYPE_CHECKING:
    from taskyard.core.access import Caller
    from taskyard.server.offline import Offline

T = TypeVar("T")
DEFAULT_WORKSPACE = "default"


def create_token(connection: Connection, name: str, role: str, expires_in_s: float | None) -> Token:
    """Create a token; its secret is in ``token``."""

    async def offline(stores: "Offline", caller: "Caller") -> Token:
        from taskyard.core.access import Role  # noqa: PLC0415 - only without a server
        from taskyard.core.instants import to_datetime  # noqa: PLC0415 - as above

        stored, secret = await stores.access.create_token(
            caller, name, Role[role.upper()], caller.workspace, expires_in_s
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
        connection, lambda client: client.create_token(name, role, expires_in_s), offline
    )


def add_user(connection: Connection, name: str, password: str, role: str) -> User:
    """Add a user."""

    async def offline(stores: "Offline", caller: "Caller") -> User:
        from taskyard.core.access import Role  # noqa: PLC0415 - only without a server
        from taskyard.core.instants import to_datetime  # noqa: PLC0415 - as above

        stored = await stores.access.add_user(
            caller, name, password, Role[role.upper()], caller.workspace
        )
        return User(stored.name, stored.role.word, stored.workspace, to_datetime(stored.created_at))

    return _either(connection, lambda client: client.add_user(name, password, role), offline)


def set_secret(connection: Connection, name: str, value: str) -> None:
    """Store a secret, or replace it."""

    async def offline(stores: "Offline", caller: "Caller") -> None:
        await stores.secrets.put(caller, name, value)

    _either(connection, lambda client: client.set_secret(name, value), offline)


def _either(
    connection: Connection,
    online: Callable[[Client], T],
    offline: Callable[["Offline", "Caller"], Awaitable[T]],
) -> T:
    """Ask the server if one is named or runs on the data directory; else open the store itself."""
    around = look_around()
    data = _directory(connection, around)
    if data is not None:
        server = read_server_file(data)
        if server is None or control_socket(data, server) is None:
            return _without_server(data, connection.workspace or DEFAULT_WORKSPACE, offline)
    target = find_target(connection.url, connection.token, connection.data, around)
    with open_client(target, connection.workspace) as client:
        return online(client)


def _directory(connection: Connection, around: Surroundings) -> Path | None:
    """The data directory to work on; None when a server is named or a credential given."""
    if connection.url or connection.token:
        return None
    if connection.data:
        return Path(connection.data)
    named = around.url or around.config.url or around.token or around.user
    return None if named else Path(around.data)


def _without_server(
    data: Path, workspace: str, work: Callable[["Offline", "Caller"], Awaitable[T]]
) -> T:
    import anyio  # noqa: PLC0415 - only without a server

    from taskyard.core.access import Caller, Role  # noqa: PLC0415 - as above
    from taskyard.core.errors import (  # noqa: PLC0415 - as above
        Conflict,
        InvalidInput,
        StoreInUse,
        TaskyardError,
    )
    from taskyard.core.ids import WorkspaceName  # noqa: PLC0415 - as above

    caller = Caller("command line", WorkspaceName(workspace), Role.ADMIN)

    async def open_and_work() -> T:
        async with _stores(data) as stores:
            return await work(stores, caller)

    try:
        return anyio.run(open_and_work)
    except InvalidInput as error:
        raise Stop(str(error), exits.INVALID) from error
    except Conflict as error:
        raise Stop(str(error)) from error
    except StoreInUse as error:
        hint = "Name the server with --url and --token."
        raise Stop(str(error), exits.UNREACHABLE, what_to_do=hint) from error
    except TaskyardError as error:
        raise Stop(str(error), exits.TROUBLE) from error


@asynccontextmanager
async def _stores(data: Path) -> AsyncIterator["Offline"]:
    from taskyard.server.offline import Offline  # noqa: PLC0415 - loads the whole store

    async with Offline(data) as stores:
        yield stores
