"""``taskyard user``."""

from typing import Literal

import anyio
from cyclopts import App

from taskyard.cli.administration import add_user, role_of
from taskyard.cli.connection import Connection
from taskyard.cli.errors import UsageError
from taskyard.cli.frame import Printed, administration_command, lines, table
from taskyard.cli.output import on_terminal
from taskyard.cli.prompts import read_hidden
from taskyard.cli.quantities import format_moment
from taskyard.core.errors import InvalidInput
from taskyard.sdk import Client

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
) -> int:
    """Add a user. Works with and without a running server.

    Args:
        name: Name to sign in with.
        role: What the user may do; required, except with --installation, where admin is the
            default.
        installation: For no workspace, but for what all share: workers, maintenance, credentials.
        password_stdin: Read the password from standard input instead of asking for it.
        connection: Which server or data directory, and with --workspace, which workspace.
    """
    password = read_hidden(password_stdin, "Password", "--password-stdin")
    user = add_user(
        connection, name, password, role_of(role, installation), installation=installation
    )
    return lines(user, [f"added {user.name} ({user.role})"]).print(as_json=connection.as_json)


@app.command(name="hash")
def print_hash(*, password_stdin: bool = False, json: bool = False) -> int:
    """Print the hash of a password, for accounts in the configuration file.

    Args:
        password_stdin: Read the password from standard input instead of asking for it.
        json: Print JSON, the default when the output is not a terminal.
    """
    from taskyard.services.access.passwords import Passwords, check_password  # noqa: PLC0415 - slow

    password = read_hidden(password_stdin, "Password", "--password-stdin")
    try:
        check_password(password)
    except InvalidInput as error:
        raise UsageError(f"the password {error.problem}") from error
    hashed = anyio.run(Passwords().hash, password)
    return lines({"password_hash": hashed}, [hashed]).print(as_json=json or not on_terminal())


@app.command
@administration_command
def ls(client: Client, workspace: str | None) -> Printed:
    """List users."""
    return table(
        list(client.users(workspace=workspace)),
        {
            "NAME": lambda user: user.name,
            "ROLE": lambda user: user.role,
            "CREATED": lambda user: format_moment(user.created_at),
        },
    )


@app.command
@administration_command
def rm(client: Client, workspace: str | None, name: str) -> Printed:
    """Remove a user.

    Args:
        name: Name of the user.
    """
    client.remove_user(name, workspace)
    return lines({"removed": name}, [f"removed {name}"])
