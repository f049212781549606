"""``taskyard secret``."""

from cyclopts import App

from taskyard.cli.administration import set_secret
from taskyard.cli.connection import Connection
from taskyard.cli.frame import Printed, client_command, lines
from taskyard.cli.prompts import read_hidden
from taskyard.sdk import Client

app = App(name="secret", help="Secrets for the environments of tasks.", version_flags=[])


@app.command(name="set")
def put(
    name: str,
    *,
    value_stdin: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Store a secret, or replace it. Works with and without a running server.

    Args:
        name: Name that tasks refer to: --env VARIABLE=@secret:NAME.
        value_stdin: Read the value from standard input instead of asking for it.
        connection: Which server or data directory, and with --workspace, which workspace.
    """
    set_secret(connection, name, read_hidden(value_stdin, "Value", "--value-stdin"))
    return lines({"name": name}, [f"stored {name}"]).print(as_json=connection.as_json)


@app.command
@client_command
def ls(client: Client) -> Printed:
    """List the names of secrets."""
    names = client.secrets()
    return lines(names, names)


@app.command
@client_command
def rm(client: Client, name: str) -> Printed:
    """Remove a secret; tasks that refer to it will fail.

    Args:
        name: Name of the secret.
    """
    client.remove_secret(name)
    return lines({"removed": name}, [f"removed {name}"])
