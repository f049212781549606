"""``taskyard worker``."""

from cyclopts import App

from taskyard.cli.frame import Printed, client_command, facts, table
from taskyard.cli.output import coloured
from taskyard.cli.quantities import format_moment, format_size
from taskyard.sdk import Client
from taskyard.sdk.models import Worker

app = App(name="worker", help="Workers: list, drain.", version_flags=[])


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


def _memory(worker: Worker) -> str:
    return f"{format_size(worker.used.memory_bytes)}/{format_size(worker.capacity.memory_bytes)}"


def _facts(worker: Worker) -> Printed:
    usage = f"{worker.used.slots} of {worker.capacity.slots} slots"
    return facts(worker, [("worker", worker.id), ("state", worker.state), ("in use", usage)])
