"""Watching the build of a version."""

import time
from typing import Final

from taskyard.cli import exits
from taskyard.cli.errors import Stop
from taskyard.cli.output import write_error
from taskyard.sdk.client import Client

_POLL_S: Final = 0.2
_BUILD_WAIT_S: Final = 600.0


def follow_build(client: Client, name: str, number: int, *, quiet: bool) -> str:
    """Show the log of a build as it grows; all of it, once the build has ended. Raises ``Stop``."""
    shown = ""
    give_up_at = time.monotonic() + _BUILD_WAIT_S
    while True:
        versions = client.functions.versions(name)
        state = next(one.state for one in versions if one.number == number)
        text = client.functions.build_log(name, number)
        if not quiet:
            write_error(text[len(shown) :].encode())
        shown = text
        if state not in {"pending", "building"}:
            return text
        if time.monotonic() > give_up_at:
            raise Stop("the build takes very long", exits.TRY_AGAIN)
        time.sleep(_POLL_S)
