"""The options that every client command has, and the client they open."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from taskyard.cli import exit_status
from taskyard.cli.environment import read_environment
from taskyard.cli.errors import CommandError, UsageError
from taskyard.cli.output import on_terminal
from taskyard.cli.target import Target, find_target
from taskyard.sdk import Client
from taskyard.sdk.errors import NotAllowed, NotAuthenticated


@Parameter(name="*", group="Server")
@dataclass(frozen=True, kw_only=True)
class Connection:
    """Which server, as whom, and how to print."""

    url: Annotated[str | None, Parameter(name="--url")] = None
    """Server address: http://HOST:PORT, https://HOST or unix:/PATH (else TASKYARD_URL)."""
    token: Annotated[str | None, Parameter(name="--token")] = None
    """Access token (else TASKYARD_TOKEN)."""
    data: Annotated[str | None, Parameter(name="--data")] = None
    """Use the server of this data directory (else TASKYARD_DATA, else ./taskyard-data)."""
    workspace: Annotated[str | None, Parameter(name=["--workspace", "-w"])] = None
    """Workspace, for a server on this machine; elsewhere the credential determines it."""
    json: Annotated[bool, Parameter(name="--json")] = False
    """Print JSON, the default when the output is not a terminal."""

    def target(self) -> Target:
        """The server that flags, environment and files name. May raise ``CommandError``."""
        return find_target(self.url, self.token, self.data, read_environment())

    @contextmanager
    def open(self, timeout_s: float = 30.0) -> Iterator[Client]:
        """A client of that server; checks that its credential belongs to the workspace."""
        with open_client(self.target(), self.workspace, timeout_s) as client:
            yield client

    @property
    def as_json(self) -> bool:
        """Whether to print JSON."""
        return self.json or not on_terminal()


@contextmanager
def open_client(target: Target, workspace: str | None, timeout_s: float = 30.0) -> Iterator[Client]:
    """A client of a target.

    Raises :class:`CommandError` if the credential belongs to a workspace other than ``workspace``,
    and for a refusal if it came from the environment although the server is on this machine.
    """
    try:
        client = Client(
            target.url,
            target.token,
            target.user,
            target.password,
            timeout_s,
            workspace=workspace if target.local else None,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    with client:
        try:
            if workspace is not None and not target.local:
                check_workspace(client, workspace)
            yield client
        except (NotAllowed, NotAuthenticated) as error:
            if not target.instead:
                raise
            kind = "token" if target.instead == "TASKYARD_TOKEN" else "user"
            raise CommandError(
                str(error),
                exit_status.NOT_ALLOWED,
                what_to_do=f"The {kind} came from {target.instead}; unset it to act as the server's"
                " own user.",
            ) from error


def check_workspace(client: Client, workspace: str, *, for_installation: bool = False) -> None:
    """Raise :class:`CommandError` when the credential belongs to another workspace.

    With ``for_installation``, one of the installation will do as well.
    """
    me = client.me()
    if me.workspace == workspace or (for_installation and me.installation is not None):
        return
    raise CommandError(
        f"this credential belongs to workspace {me.workspace!r}, not {workspace!r}"
        if me.installation is None
        else "this credential belongs to the installation and to no workspace",
        exit_status.NOT_ALLOWED,
        what_to_do="Use a credential of that workspace, or --data on the server's machine.",
    )
