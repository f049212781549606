"""``taskyard token``."""

from typing import Literal

from cyclopts import App

from taskyard.cli.administration import create_token, role_of
from taskyard.cli.connection import Connection
from taskyard.cli.frame import Printed, administration_command, lines, table
from taskyard.cli.output import note, print_json, say
from taskyard.cli.quantities import format_moment, seconds
from taskyard.sdk import Client

app = App(name="token", help="Access tokens.", version_flags=[])

Role = Literal["read", "write", "operate", "admin"]


@app.command
def create(
    name: str,
    *,
    role: Role | None = None,
    installation: bool = False,
    expires_in: str | None = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Create a token and print it, this once. Works with and without a running server.

    Args:
        name: What the token is for.
        role: What it allows; required, except with --installation, where admin is the default.
        installation: For no workspace, but for what all share: workers, maintenance, credentials.
        expires_in: Lifetime, such as 30d; unlimited by default.
        connection: Which server or data directory, and with --workspace, which workspace.
    """
    expires_in_s = None if expires_in is None else seconds(expires_in, "--expires-in")
    token = create_token(
        connection, name, role_of(role, installation), expires_in_s, installation=installation
    )
    if connection.as_json:
        print_json(token)
    else:
        say(token.token or "")
        note("Keep it safe: it is not shown again.")


@app.command
@administration_command
def ls(client: Client, workspace: str | None) -> Printed:
    """List tokens, without their secrets."""
    return table(
        list(client.tokens(workspace=workspace)),
        {
            "ID": lambda token: token.id,
            "NAME": lambda token: token.name,
            "ROLE": lambda token: token.role,
            "CREATED": lambda token: format_moment(token.created_at),
            "EXPIRES": lambda token: format_moment(token.expires_at),
            "USED": lambda token: format_moment(token.last_used_at),
            "REVOKED": lambda token: format_moment(token.revoked_at),
        },
    )


@app.command
@administration_command
def revoke(client: Client, workspace: str | None, token_id: str) -> Printed:
    """Revoke a token.

    Args:
        token_id: Id of the token, see 'taskyard token ls'.
    """
    client.revoke_token(token_id, workspace)
    return lines({"revoked": token_id}, [f"revoked {token_id}"])
