"""``taskyard parked``."""

from datetime import UTC, datetime

from taskyard.cli.connection import Connection
from taskyard.cli.output import plain, print_json, print_table
from taskyard.cli.quantities import format_moment


def parked(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List what could not be dealt with and was put aside, and why.

    Args:
        connection: Which server.
    """
    with connection.open() as client:
        found = client.parked()
    if connection.as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_table(
        ("KIND", "ID", "SINCE", "NEXT TRY", "REASON"),
        (
            (
                plain(one.kind),
                plain(one.id),
                plain(format_moment(one.since, now)),
                plain(format_moment(one.retry_at, now)),
                plain(one.reason),
            )
            for one in found
        ),
    )
