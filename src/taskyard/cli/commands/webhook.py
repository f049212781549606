"""``taskyard webhook``."""

from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from cyclopts import App

from taskyard.cli.connection import Connection
from taskyard.cli.output import coloured, plain, print_facts, print_json, print_table, say
from taskyard.cli.quantities import format_moment

app = App(name="webhook", help="Webhook deliveries.", version_flags=[])


@app.command
def ls(
    *,
    state: Literal["pending", "delivered", "failed"] | None = None,
    limit: int = 50,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List deliveries.

    Args:
        state: Only those in this state.
        limit: How many at most.
        connection: Which server.
    """
    with connection.open() as client:
        found = list(islice(client.deliveries(state, min(max(limit, 1), 500)), limit))
    if connection.as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_table(
        ("ID", "STATE", "EVENT", "URL", "TRIES>", "CREATED", "LAST"),
        (
            (
                plain(each.id),
                coloured(each.state),
                plain(each.event),
                plain(each.url),
                plain(each.attempt_count),
                plain(format_moment(each.created_at, now)),
                plain(each.last_error or each.last_status),
            )
            for each in found
        ),
    )


@app.command
def show(
    delivery: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Show a delivery and every try.

    Args:
        delivery: Id of the delivery.
        connection: Which server.
    """
    with connection.open() as client:
        found = client.delivery(delivery)
    if connection.as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_facts(
        [
            ("id", found.id),
            ("state", found.state),
            ("task", found.task_id),
            ("event", found.event),
            ("url", found.url),
            ("next try", format_moment(found.next_at, now)),
            ("delivered", format_moment(found.delivered_at, now)),
        ]
    )
    if found.tries:
        say("")
        print_table(
            ("WHEN", "STATUS>", "TOOK>", "ERROR"),
            (
                (
                    plain(format_moment(each.at, now)),
                    plain(each.status),
                    plain("" if each.duration_ms is None else f"{each.duration_ms:.0f} ms"),
                    plain(each.error),
                )
                for each in found.tries
            ),
        )


@app.command
def redeliver(
    delivery: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Deliver once more.

    Args:
        delivery: Id of the delivery.
        connection: Which server.
    """
    with connection.open() as client:
        answer = client.redeliver(delivery)
    if connection.as_json:
        print_json(answer if answer is not None else {"id": delivery})
    else:
        say(f"{delivery} will be delivered again")
