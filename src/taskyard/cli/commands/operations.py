"""``taskyard audit`` and ``parked``: what was done to a server, and what it could not do."""

from itertools import islice

from taskyard.cli.frame import Printed, administration_command, client_command, table
from taskyard.cli.quantities import format_moment
from taskyard.sdk import Client


@administration_command
def audit(client: Client, workspace: str | None, *, limit: int = 50) -> Printed:
    """Print who did what in the workspace.

    Args:
        limit: Maximum number of entries.
    """
    entries = list(islice(client.audit(min(max(limit, 1), 500), workspace), limit))
    return table(
        entries,
        {
            "WHEN": lambda entry: format_moment(entry.at),
            "WHO": lambda entry: entry.actor,
            "WHAT": lambda entry: entry.action,
            "TARGET": lambda entry: entry.target,
            "OUTCOME": lambda entry: entry.outcome,
            "TIMES>": lambda entry: entry.count,
            "FROM": lambda entry: entry.address,
        },
    )


@client_command
def parked(client: Client) -> Printed:
    """List the entries that background work failed on and set aside, with the reason."""
    return table(
        client.parked(),
        {
            "KIND": lambda entry: entry.kind,
            "ID": lambda entry: entry.id,
            "SINCE": lambda entry: format_moment(entry.since),
            "NEXT TRY": lambda entry: format_moment(entry.retry_at),
            "REASON": lambda entry: entry.reason,
        },
    )
