"""What every handler of the native dialect works with."""

from dataclasses import dataclass
from typing import Final

from litestar.types import Scope

from taskyard import __version__
from taskyard.dialects.http.streams import Streams
from taskyard.services.engine import Engine

STATE_KEY: Final = "native"
"""Where the application's state keeps the :class:`Native`."""


@dataclass(frozen=True, slots=True)
class Native:
    """The engine and the limits this dialect serves it with."""

    engine: Engine
    streams: Streams
    prefix: str = "/api/v1"
    """Path below which it is served; empty at the root of a listener."""
    max_body_bytes: int = 8 << 20
    dev: bool = False
    version: str = __version__


def native_of(scope: Scope) -> Native:
    """The native dialect of the application that serves a connection."""
    native: Native = scope["litestar_app"].state[STATE_KEY]
    return native
