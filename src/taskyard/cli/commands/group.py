"""``taskyard group``."""

from cyclopts import App

from taskyard.cli.error_messages import problems_as_flags
from taskyard.cli.errors import UsageError
from taskyard.cli.frame import Printed, client_command, facts, table
from taskyard.sdk import Client
from taskyard.sdk.models import Group

app = App(name="group", help="Groups: pause, resume, limit.", version_flags=[])


@app.command
@client_command
def ls(client: Client) -> Printed:
    """List groups with their number of tasks in each state."""
    return table(
        list(client.groups()),
        {
            "GROUP": lambda group: group.name,
            "PAUSED": lambda group: "yes" if group.paused else "",
            "LIMIT>": lambda group: group.concurrency_limit,
            "TASKS": _counts,
        },
    )


@app.command
@client_command
def show(client: Client, name: str) -> Printed:
    """Show one group.

    Args:
        name: Name of the group.
    """
    return _facts(client.group(name))


@app.command
@client_command
def pause(client: Client, name: str) -> Printed:
    """Start no more tasks of a group; running ones continue.

    Args:
        name: Name of the group.
    """
    return _facts(client.pause(name))


@app.command
@client_command
def resume(client: Client, name: str) -> Printed:
    """Start tasks of a group again.

    Args:
        name: Name of the group.
    """
    return _facts(client.resume(name))


@app.command
@client_command
def limit(client: Client, name: str, at_once: str) -> Printed:
    """Limit how many tasks of a group run at once.

    Args:
        name: Name of the group.
        at_once: A number, or 'none'.
    """
    if at_once != "none" and not at_once.isdecimal():
        raise UsageError(
            f"{at_once!r} is not a valid limit", what_to_do="Give a number, or 'none'."
        )
    with problems_as_flags(concurrency_limit="the limit"):
        return _facts(client.set_group_limit(name, None if at_once == "none" else int(at_once)))


def _facts(group: Group) -> Printed:
    return facts(
        group,
        [
            ("group", group.name),
            ("paused", "yes" if group.paused else "no"),
            ("limit", "none" if group.concurrency_limit is None else group.concurrency_limit),
            ("tasks", _counts(group)),
        ],
    )


def _counts(group: Group) -> str:
    return ", ".join(f"{count} {state}" for state, count in group.counts.items())
