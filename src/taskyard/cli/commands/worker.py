"""``taskyard worker``."""

from datetime import UTC, datetime

from cyclopts import App

from taskyard.cli.connection import Connection
from taskyard.cli.output import coloured, plain, print_facts, print_json, print_table
from taskyard.cli.quantities import format_moment, format_size
from taskyard.sdk.models import Worker

app = App(name="worker", help="Workers: list, drain.", version_flags=[])


@app.command
def ls(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List workers, what they have and what of it is used.

    Args:
        connection: Which server.
    """
    with connection.open() as client:
        workers = client.workers()
    if connection.as_json:
        print_json(workers)
        return
    now = datetime.now(UTC)
    print_table(
        ("WORKER", "STATE", "HOST", "SLOTS>", "CPU>", "MEMORY>", "RUNTIMES", "NOT NOW", "SEEN"),
        (
            (
                plain(worker.id),
                coloured(worker.state),
                plain(worker.hostname),
                plain(f"{worker.used.slots}/{worker.capacity.slots}"),
                plain(f"{worker.used.cpu:g}/{worker.capacity.cpu:g}"),
                plain(
                    f"{format_size(worker.used.memory_bytes)}/"
                    f"{format_size(worker.capacity.memory_bytes)}"
                ),
                plain(", ".join(worker.runtimes)),
                plain("; ".join(f"{tag}: {one.reason}" for tag, one in worker.unavailable.items())),
                plain(format_moment(worker.beat_at, now)),
            )
            for worker in workers
        ),
    )


@app.command
def drain(
    worker_id: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Place nothing new on a worker; what runs there goes on.

    Args:
        worker_id: Which worker.
        connection: Which server.
    """
    with connection.open() as client:
        _print(client.drain(worker_id), connection)


@app.command
def undrain(
    worker_id: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Let a worker take tasks again.

    Args:
        worker_id: Which worker.
        connection: Which server.
    """
    with connection.open() as client:
        _print(client.undrain(worker_id), connection)


def _print(worker: Worker, connection: Connection) -> None:
    if connection.as_json:
        print_json(worker)
        return
    print_facts(
        [
            ("worker", worker.id),
            ("state", worker.state),
            ("in use", f"{worker.used.slots} of {worker.capacity.slots} slots"),
        ]
    )
