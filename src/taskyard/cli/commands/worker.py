"""``taskyard worker``."""

from cyclopts import App

from taskyard.cli.connection import Connection
from taskyard.cli.frame import Printed, client_command, facts, lines, table
from taskyard.cli.output import coloured, note, print_json, say
from taskyard.cli.quantities import format_moment, format_size, seconds
from taskyard.sdk import Client
from taskyard.sdk.models import Worker

app = App(
    name="worker",
    help="Workers: list, drain; credentials of those on other machines.",
    version_flags=[],
)


@app.command
@client_command
def ls(client: Client) -> Printed:
    """List workers with their capacity and usage."""
    return table(
        client.workers(),
        {
            "WORKER": lambda worker: worker.id,
            "STATE": lambda worker: coloured(worker.state),
            "HOST": lambda worker: worker.hostname,
            "SLOTS>": lambda worker: f"{worker.used.slots}/{worker.capacity.slots}",
            "CPU>": lambda worker: f"{worker.used.cpu:g}/{worker.capacity.cpu:g}",
            "MEMORY>": _memory,
            "RUNTIMES": lambda worker: ", ".join(worker.runtimes),
            "UNAVAILABLE": lambda worker: "; ".join(
                f"{tag}: {one.reason}" for tag, one in worker.unavailable.items()
            ),
            "SEEN": lambda worker: format_moment(worker.beat_at),
        },
    )


@app.command
@client_command
def drain(client: Client, worker_id: str) -> Printed:
    """Place no new tasks on a worker; running ones continue.

    Args:
        worker_id: Id of the worker.
    """
    return _facts(client.drain(worker_id))


@app.command
@client_command
def undrain(client: Client, worker_id: str) -> Printed:
    """Let a worker take tasks again.

    Args:
        worker_id: Id of the worker.
    """
    return _facts(client.undrain(worker_id))


@app.command
def token(
    name: str,
    *,
    tag: list[str] | None = None,
    expires: str | None = None,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Create the credential of a worker on another machine; prints its join string, this once.

    Args:
        name: The worker's id: a-z, 0-9 and -.
        tag: A tag that the worker has; repeatable.
        expires: Lifetime, such as 30d; unlimited by default.
        connection: Which server.
    """
    expires_in_s = None if expires is None else seconds(expires, "--expires")
    with connection.open() as client:
        made = client.create_worker_token(name, tag or (), expires_in_s)
    if connection.as_json:
        print_json(made)
    else:
        say(made.join or "")
        note("Keep it safe: it is not shown again. Who has it runs tasks, and sees their secrets.")


@app.command
@client_command
def tokens(client: Client) -> Printed:
    """List the credentials of workers on other machines, without their secrets."""
    return table(
        list(client.worker_tokens()),
        {
            "WORKER": lambda token: token.name,
            "TAGS": lambda token: ", ".join(token.tags),
            "CREATED": lambda token: format_moment(token.created_at),
            "BY": lambda token: token.created_by,
            "EXPIRES": lambda token: format_moment(token.expires_at),
            "SEEN": lambda token: format_moment(token.last_seen_at),
            "REVOKED": lambda token: format_moment(token.revoked_at),
        },
    )


@app.command
@client_command
def revoke(client: Client, name: str) -> Printed:
    """Revoke a credential: its worker is cut off, and what it runs goes elsewhere.

    Args:
        name: The worker's id, see 'taskyard worker tokens'.
    """
    client.revoke_worker_token(name)
    return lines({"revoked": name}, [f"revoked {name}"])


def _memory(worker: Worker) -> str:
    return f"{format_size(worker.used.memory_bytes)}/{format_size(worker.capacity.memory_bytes)}"


def _facts(worker: Worker) -> Printed:
    usage = f"{worker.used.slots} of {worker.capacity.slots} slots"
    return facts(worker, [("worker", worker.id), ("state", worker.state), ("in use", usage)])
