"""``taskyard token``."""

from datetime import UTC, datetime
from typing import Literal

from cyclopts import App

from taskyard.cli.administration import administering, create_token, role_of
from taskyard.cli.connection import Connection
from taskyard.cli.output import note, plain, print_json, print_table, say
from taskyard.cli.quantities import format_moment, seconds

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
        name: What it is for.
        role: What it allows; needed unless it is one of the installation, which is admin otherwise.
        installation: For no workspace, but what all share: workers, maintenance, credentials.
        expires_in: How long it lives, such as 30d; for ever otherwise.
        connection: Which server or data directory, and with --workspace, for whom.
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
def ls(
    *,
    installation: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List tokens, without their secrets.

    Args:
        installation: Those of the installation.
        connection: Which server.
    """
    with administering(connection, installation=installation) as (client, workspace):
        tokens = list(client.tokens(workspace=workspace))
    if connection.as_json:
        print_json(tokens)
        return
    now = datetime.now(UTC)
    print_table(
        ("ID", "NAME", "ROLE", "CREATED", "EXPIRES", "USED", "REVOKED"),
        (
            (
                plain(token.id),
                plain(token.name),
                plain(token.role),
                plain(format_moment(token.created_at, now)),
                plain(format_moment(token.expires_at, now)),
                plain(format_moment(token.last_used_at, now)),
                plain(format_moment(token.revoked_at, now)),
            )
            for token in tokens
        ),
    )


@app.command
def revoke(
    token: str,
    *,
    installation: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Make a token worthless.

    Args:
        token: Id of the token, see 'taskyard token ls'.
        installation: It is one of the installation.
        connection: Which server.
    """
    with administering(connection, installation=installation) as (client, workspace):
        client.revoke_token(token, workspace)
    if connection.as_json:
        print_json({"revoked": token})
    else:
        say(f"revoked {token}")
