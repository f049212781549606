"""``taskyard cluster``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError
from taskyard.cli.frame import Printed, client_command, table
from taskyard.cli.output import coloured, note, say, write_out
from taskyard.sdk import Client
from taskyard.sdk.models import Cluster

if TYPE_CHECKING:
    from taskyard.server.settings import Settings

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


@app.command
def config(
    *,
    data: Path | None = None,
    config: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Print what the configuration of a NATS server of your own needs. It holds no secret.

    Makes the installation's key, secret.key, in a data directory that is empty.

    Args:
        data: Data directory of a control plane.
        config: Configuration file of the server.
        as_json: The same as JSON, which NATS reads too.
    """
    from taskyard.core.errors import TaskyardError  # noqa: PLC0415 - loads slowly
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above

    try:
        settings = Settings.load(config, {} if data is None else {"data": data})
        text = printed_config(settings, as_json=as_json)
    except TaskyardError as error:
        raise CommandError(str(error), exit_status.USAGE) from error
    except OSError as error:
        raise CommandError(f"the key cannot be used: {error}", exit_status.TROUBLE) from error
    write_out(text.encode() + b"\n")
    return exit_status.OK


def printed_config(settings: "Settings", *, as_json: bool = False) -> str:
    """What a NATS server needs for the installation with these settings.

    Raises:
        InvalidInput: the data directory is somebody's, and has no key.
        SecretKeyWrong: what stands for the key is none.
        OSError: a key cannot be made.
    """
    from taskyard.core.errors import InvalidInput  # noqa: PLC0415 - loads slowly
    from taskyard.server.cluster_keys import (  # noqa: PLC0415 - as above
        PURPOSES,
        keys_of,
        server_accounts,
        server_config,
    )
    from taskyard.server.wiring.access import key_source  # noqa: PLC0415 - as above
    from taskyard.services.access.encryption import derived  # noqa: PLC0415 - as above

    source = key_source(settings)
    key = source.read()
    if key is None:
        data = settings.data.absolute()
        if data.is_dir() and any(data.iterdir()):
            raise InvalidInput(
                "data",
                f"{data} has no secret.key; start its server once, or copy the key of another"
                " control plane of the installation into it",
            )
        data.mkdir(parents=True, exist_ok=True, mode=0o711)
        key = source.create()
        note(
            f"taskyard: made {data / 'secret.key'}, the key of a new installation; for one that you"
            " have already, name the data directory of one of its control planes with --data."
        )
    keys = keys_of([derived(key, purpose) for purpose in PURPOSES])
    return json.dumps(server_accounts(keys)) if as_json else server_config(keys)


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
