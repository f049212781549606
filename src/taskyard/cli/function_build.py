"""Watching the build of a version."""

import time
from typing import Final

from taskyard.cli import exit_status
from taskyard.cli.errors import CommandError
from taskyard.cli.output import write_error
from taskyard.sdk.function_requests import Version
from taskyard.sdk.sync.functions import FunctionClient

_POLL_S: Final = 0.2
_BUILD_WAIT_S: Final = 600.0


def follow_build(
    functions: FunctionClient, key: str, version: Version, *, quiet: bool
) -> tuple[Version, str]:
    """Show the log of a build as it grows; the version once it has ended, and all of the log.

    Raises ``CommandError`` if it takes very long.
    """
    shown = ""
    give_up_at = time.monotonic() + _BUILD_WAIT_S
    while True:
        version = functions.version(key, version.number)
        text = functions.build_log(key, version.number)
        if not quiet:
            write_error(text[len(shown) :].encode())
        shown = text
        if version.state not in {"pending", "building"}:
            return version, text
        if time.monotonic() > give_up_at:
            raise CommandError("the build takes very long", exit_status.TRY_AGAIN)
        time.sleep(_POLL_S)
