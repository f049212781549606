"""``taskyard worker``."""

from datetime import UTC, datetime

from cyclopts import App

from taskyard.cli.connection import Connection
from taskyard.cli.output import coloured, plain, print_json, print_table
from taskyard.cli.quantities import tell_moment, tell_size

app = App(name="worker", help="Workers.")


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
        ("WORKER", "STATE", "HOST", "SLOTS>", "CPU>", "MEMORY>", "RUNTIMES", "SEEN"),
        (
            (
                plain(worker.id),
                coloured(worker.state),
                plain(worker.hostname),
                plain(f"{worker.used.slots}/{worker.capacity.slots}"),
                plain(f"{worker.used.cpu:g}/{worker.capacity.cpu:g}"),
                plain(
                    f"{tell_size(worker.used.memory_bytes)}/"
                    f"{tell_size(worker.capacity.memory_bytes)}"
                ),
                plain(", ".join(worker.runtimes)),
                plain(tell_moment(worker.beat_at, now)),
            )
            for worker in workers
        ),
    )
