"""``taskyard version``."""

from typing import Annotated

from cyclopts import Parameter

from taskyard import __version__


def version(
    *,
    server: bool = False,
    json: bool = False,
    url: Annotated[str | None, Parameter(group="Server")] = None,
    token: Annotated[str | None, Parameter(group="Server")] = None,
    data: Annotated[str | None, Parameter(group="Server")] = None,
) -> None:
    """Print the version of this program, and with --server that of the server.

    Args:
        server: Ask the server too.
        json: Print JSON.
        url: Server address.
        token: Access token.
        data: Use the server of this data directory.
    """
    versions = {"version": __version__}
    if server:
        from taskyard.cli.connection import Connection  # noqa: PLC0415 - loads the HTTP client

        with Connection(url=url, token=token, data=data).open() as client:
            versions["server"] = client.version().version
    if json:
        import msgspec  # noqa: PLC0415 - slower than all the rest of this command

        print(msgspec.json.encode(versions).decode())  # noqa: T201 - the command's result
        return
    print(f"taskyard {__version__}")  # noqa: T201 - the command's result
    if server:
        print(f"server {versions['server']}")  # noqa: T201 - the command's result
