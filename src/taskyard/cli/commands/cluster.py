"""``taskyard cluster``."""

from cyclopts import App

from taskyard.cli.frame import Printed, client_command, table
from taskyard.cli.output import coloured, say
from taskyard.sdk import Client
from taskyard.sdk.models import Cluster

app = App(name="cluster", help="Control planes of an installation.", version_flags=[])


@app.command
@client_command
def status(client: Client) -> Printed:
    """Print the control planes, and which of them leads."""
    found = client.cluster()
    printed = table(
        found.planes,
        {
            "PLANE": lambda one: one.id,
            "STATE": lambda one: coloured(one.state),
            "ADDRESS": lambda one: one.address,
            "MACHINE": lambda one: one.name,
            "VERSION": lambda one: one.version,
            "SEEN>": lambda one: f"{one.silent_s:.1f} s ago",
        },
    )

    def show() -> None:
        if found.planes:
            printed.show()
        say(_sentences(found))

    return Printed(found, show)


def _sentences(found: Cluster) -> str:
    if found.plane is None:
        return "One control plane, on SQLite."
    said = [f"Answered by {found.plane}."]
    if found.leader is None:
        said.append("No control plane leads at the moment: tasks are stored and wait.")
    else:
        said.append(f"{found.leader} leads, in term {found.term}.")
    if not found.hears_messages:
        said.append("It is cut off from NATS.")
    if not found.hears_changes:
        said.append("It is cut off from the database.")
    return " ".join(said)
