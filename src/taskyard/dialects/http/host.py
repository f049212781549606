"""What a server gives to each dialect it serves."""

from dataclasses import dataclass
from typing import Final

from taskyard import __version__
from taskyard.dialects.http.streams import Streams
from taskyard.ports.fetching import Fetcher
from taskyard.services.engine import Engine

MAX_BODY_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Host:
    """The engine, and the limits it is served with."""

    engine: Engine
    streams: Streams
    max_body_bytes: int = MAX_BODY_BYTES
    dev: bool = False
    """Whether the well-known credentials are valid."""
    version: str = __version__
    fetch: Fetcher | None = None
    """Gets documents from where clients say; None if nothing can be fetched."""
