"""``taskyard secret``."""

from cyclopts import App

from taskyard.cli.administration import set_secret
from taskyard.cli.connection import Connection
from taskyard.cli.output import print_json, say
from taskyard.cli.prompts import read_hidden

app = App(name="secret", help="Secrets for the environments of tasks.", version_flags=[])


@app.command(name="set")
def put(
    name: str,
    *,
    value_stdin: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Store a secret, or replace it. Works with and without a running server.

    Args:
        name: Name that tasks refer to: --env VARIABLE=@secret:NAME.
        value_stdin: Read the value from standard input; it is asked for otherwise.
        connection: Which server or data directory, and with --workspace, where.
    """
    set_secret(connection, name, read_hidden(value_stdin, "Value", "--value-stdin"))
    if connection.as_json:
        print_json({"name": name})
    else:
        say(f"stored {name}")


@app.command
def ls(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List the names of secrets.

    Args:
        connection: Which server.
    """
    with connection.open() as client:
        names = client.secrets()
    if connection.as_json:
        print_json(names)
    else:
        for name in names:
            say(name)


@app.command
def rm(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Remove a secret; tasks that refer to it will fail.

    Args:
        name: Name of the secret.
        connection: Which server.
    """
    with connection.open() as client:
        client.remove_secret(name)
    if connection.as_json:
        print_json({"removed": name})
    else:
        say(f"removed {name}")
