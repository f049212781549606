"""``taskyard audit``."""

from datetime import UTC, datetime
from itertools import islice

from taskyard.cli.administration import administering
from taskyard.cli.connection import Connection
from taskyard.cli.output import plain, print_json, print_table
from taskyard.cli.quantities import format_moment


def audit(
    *,
    limit: int = 50,
    installation: bool = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Print who did what in the workspace.

    Args:
        limit: How many entries at most.
        installation: That of the installation: workers, maintenance, credentials of no workspace.
        connection: Which server.
    """
    with administering(connection, installation=installation) as (client, workspace):
        entries = list(islice(client.audit(min(max(limit, 1), 500), workspace), limit))
    if connection.as_json:
        print_json(entries)
        return
    now = datetime.now(UTC)
    print_table(
        ("WHEN", "WHO", "WHAT", "TARGET", "OUTCOME", "TIMES>", "FROM"),
        (
            (
                plain(format_moment(entry.at, now)),
                plain(entry.actor),
                plain(entry.action),
                plain(entry.target),
                plain(entry.outcome),
                plain(str(entry.count)),
                plain(entry.address),
            )
            for entry in entries
        ),
    )
