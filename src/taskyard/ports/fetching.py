"""The fetching port: documents from targets that users chose, guarded like what is sent."""

from typing import Protocol

from msgspec import Struct

from taskyard.ports.http import Answer


class Fetch(Struct, frozen=True):
    """What to ask for."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    body: bytes = b""
    verify_tls: bool = True
    """Whether the target has to prove with a certificate that it is who it says."""
    connect_s: float = 1.0
    """Seconds to connect."""
    total_s: float = 1.0
    """Seconds for all of it, after the connection was made."""
    limit_bytes: int = 1 << 20
    """Largest answer."""


class Fetcher(Protocol):
    """Fetches once; redirects are answers like others."""

    async def __call__(self, wanted: Fetch) -> Answer:
        """The answer with its whole body.

        Raises:
            TargetRefused: the host, or an address it resolves to, is not allowed.
            SendFailed: no connection, it broke or took too long, or the answer is too large.
        """
        ...
