"""``taskyard webhook``."""

from itertools import islice
from typing import Literal

from cyclopts import App

from taskyard.cli.frame import Printed, client_command, lines, table
from taskyard.cli.output import coloured, print_facts, say
from taskyard.cli.quantities import format_moment
from taskyard.sdk import Client

app = App(name="webhook", help="Webhook deliveries.", version_flags=[])


@app.command
@client_command
def ls(
    client: Client,
    *,
    state: Literal["pending", "delivered", "failed"] | None = None,
    limit: int = 50,
) -> Printed:
    """List deliveries.

    Args:
        state: Only deliveries in this state.
        limit: Maximum number of deliveries.
    """
    found = list(islice(client.deliveries(state, min(max(limit, 1), 500)), limit))
    return table(
        found,
        {
            "ID": lambda one: one.id,
            "STATE": lambda one: coloured(one.state),
            "EVENT": lambda one: one.event,
            "URL": lambda one: one.url,
            "TRIES>": lambda one: one.attempt_count,
            "CREATED": lambda one: format_moment(one.created_at),
            "LAST": lambda one: one.last_error or one.last_status,
        },
    )


@app.command
@client_command
def show(client: Client, delivery: str) -> Printed:
    """Show a delivery and every try.

    Args:
        delivery: Id of the delivery.
    """
    found = client.delivery(delivery)
    tries = table(
        found.tries,
        {
            "WHEN": lambda one: format_moment(one.at),
            "STATUS>": lambda one: one.status,
            "TOOK>": lambda one: f"{one.duration_ms} ms",
            "ERROR": lambda one: one.error,
        },
    )

    def view() -> None:
        print_facts(
            [
                ("id", found.id),
                ("state", found.state),
                ("task", found.task_id),
                ("event", found.event),
                ("url", found.url),
                ("next try", format_moment(found.next_at)),
                ("delivered", format_moment(found.delivered_at)),
            ]
        )
        if found.tries:
            say("")
            tries.show()

    return Printed(found, view)


@app.command
@client_command
def redeliver(client: Client, delivery: str) -> Printed:
    """Deliver once more.

    Args:
        delivery: Id of the delivery.
    """
    answer = client.redeliver(delivery)
    value = answer if answer is not None else {"id": delivery}
    return lines(value, [f"{delivery} will be delivered again"])
