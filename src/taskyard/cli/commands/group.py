"""``taskyard group``."""

from cyclopts import App

from taskyard.cli.connection import Connection
from taskyard.cli.error_messages import problems_as_flags
from taskyard.cli.errors import UsageError
from taskyard.cli.output import plain, print_facts, print_json, print_table
from taskyard.sdk.models import Group

app = App(name="group", help="Groups: pause, resume, limit.", version_flags=[])


@app.command
def ls(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """List groups and how many tasks they have in each state.

    Args:
        connection: Which server.
    """
    with connection.open() as client:
        groups = list(client.groups())
    if connection.as_json:
        print_json(groups)
        return
    print_table(
        ("GROUP", "PAUSED", "LIMIT>", "TASKS"),
        (
            (
                plain(group.name),
                plain("yes" if group.paused else ""),
                plain(group.concurrency_limit),
                plain(_counts(group)),
            )
            for group in groups
        ),
    )


@app.command
def show(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Show one group.

    Args:
        name: Name of the group.
        connection: Which server.
    """
    with connection.open() as client:
        _print(client.group(name), connection)


@app.command
def pause(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Start nothing more of a group; what runs goes on.

    Args:
        name: Name of the group.
        connection: Which server.
    """
    with connection.open() as client:
        _print(client.pause(name), connection)


@app.command
def resume(
    name: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Start tasks of a group again.

    Args:
        name: Name of the group.
        connection: Which server.
    """
    with connection.open() as client:
        _print(client.resume(name), connection)


@app.command
def limit(
    name: str,
    at_once: str,
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> None:
    """Limit how many tasks of a group run at once.

    Args:
        name: Name of the group.
        at_once: A number, or 'none'.
        connection: Which server.
    """
    if at_once != "none" and not at_once.isdecimal():
        raise UsageError(f"{at_once!r} is no limit", what_to_do="Give a number, or 'none'.")
    with connection.open() as client, problems_as_flags(concurrency_limit="the limit"):
        number = None if at_once == "none" else int(at_once)
        _print(client.set_group_limit(name, number), connection)


def _print(group: Group, connection: Connection) -> None:
    if connection.as_json:
        print_json(group)
        return
    limit = "none" if group.concurrency_limit is None else str(group.concurrency_limit)
    print_facts(
        [
            ("group", group.name),
            ("paused", "yes" if group.paused else "no"),
            ("limit", limit),
            ("tasks", _counts(group)),
        ]
    )


def _counts(group: Group) -> str:
    return ", ".join(f"{count} {state}" for state, count in group.counts.items())
