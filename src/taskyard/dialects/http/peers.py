"""Who is at the other end of a connection."""

from typing import Final

from litestar.types import Scope

LOCAL_KEY: Final = "local_admin"
"""Set in a connection's state by a listener whose every caller owns the data directory."""


def address_of(scope: Scope) -> str | None:
    """Network address of the peer; None on a Unix socket."""
    client = scope["client"]
    return client[0] if client else None
