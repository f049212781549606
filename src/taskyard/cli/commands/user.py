"""``taskyard user``."""

from datetime import UTC, datetime
from typing import Literal

import anyio
from cyclopts import App

from taskyard.cli.administration import add_user, administering, role_of
from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.output import on_terminal, plain, print_json, print_table, say
from taskyard.cli.prompts import read_hidden
from taskyard.cli.quantities import format_moment
from taskyard.core.errors import InvalidInput

app = App(name="user", help="Users with passwords.", version_flags=[])

Role = Literal["read", "write", "operate", "admin"]


@app.command
def add(
    name: str,
    *,
    role: Role | None = None,
    installation: bool = False,
    password_stdin: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Add a user. Works with and without a running server.

    Args:
        name: Name to sign in with.
        role: What the user may do; needed unless for the installation, where it is admin otherwise.
        installation: For no workspace, but what all share: workers, maintenance, credentials.
        password_stdin: Read the password from standard input; it is asked for otherwise.
        connection: Which server or data directory, and with --workspace, where.
    """
    password = read_hidden(password_stdin, "Password", "--password-stdin")
    user = add_user(
        connection, name, password, role_of(role, installation), installation=installation
    )
    if connection.as_json:
        print_json(user)
    else:
        say(f"added {user.name} ({user.role})")


@app.command(name="hash")
def print_hash(*, password_stdin: bool = False, json: bool = False) -> None:
    """Print the hash of a password, for accounts that stand in the configuration file.

    Args:
        password_stdin: Read the password from standard input; it is asked for otherwise.
        json: Print JSON, as is done anyway when the output is no terminal.
    """
    from taskyard.services.access.passwords import Passwords, check_password  # noqa: PLC0415 - slow

    password = read_hidden(password_stdin, "Password", "--password-stdin")
    try:
        check_password(password)
    except InvalidInput as error:
        raise UsageError(f"the password {error.problem}") from error
    hashed = anyio.run(Passwords().hash, password)
    if json or not on_terminal():
        print_json({"password_hash": hashed})
    else:
        say(hashed)


@app.command
def ls(
    *,
    installation: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List users.

    Args:
        installation: Those of the installation.
        connection: Which server.
    """
    with administering(connection, installation=installation) as (client, workspace):
        users = list(client.users(workspace=workspace))
    if connection.as_json:
        print_json(users)
        return
    now = datetime.now(UTC)
    print_table(
        ("NAME", "ROLE", "CREATED"),
        (
            (plain(user.name), plain(user.role), plain(format_moment(user.created_at, now)))
            for user in users
        ),
    )


@app.command
def rm(
    name: str,
    *,
    installation: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Remove a user.

    Args:
        name: Name of the user.
        installation: It is one of the installation.
        connection: Which server.
    """
    with administering(connection, installation=installation) as (client, workspace):
        client.remove_user(name, workspace)
    if connection.as_json:
        print_json({"removed": name})
    else:
        say(f"removed {name}")
