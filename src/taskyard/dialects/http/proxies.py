"""The client addresses behind trusted proxies.

Only a peer that is trusted is believed, and only in the one header it is known to write: a client
may send any header through a proxy that knows nothing of it.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.core.errors import InvalidInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
FIELD: Final = "trusted_proxies"
HOPS: Final = 32
"""Entries of the header that are looked at, from its end."""
_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*"?(?P<node>[^";]*)"?', re.IGNORECASE)
_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::[0-9]{1,5})?\Z")


class Proxies:
    """The proxies that are trusted to name their clients."""

    def __init__(self, trusted: Sequence[str], header: str = "x-forwarded-for") -> None:
        """Raises ``InvalidInput`` for anything but addresses and networks."""
        self._header = header.encode()
        networks = []
        for text in trusted:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError as error:
                raise InvalidInput(
                    FIELD, f"{text!r} is neither an address nor a network such as 10.0.0.0/8"
                ) from error
        self._networks: tuple[Network, ...] = tuple(networks)

    def resolved(self, app: ASGIApp) -> ASGIApp:
        """The application, which then sees clients where proxies connected."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            client = scope["client"]
            if client is not None:
                found = self.client_of(client[0], scope["headers"])
                if found != client[0]:
                    scope["client"] = (found, 0)
            await app(scope, receive, send)

        return serve

    def client_of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The peer, or the last one before it that is not a trusted proxy.

        What cannot be read ends the search: the last address that is certain counts.
        """
        address = _parsed(peer)
        if address is None or not self.trusts(address):
            return peer
        found = str(address)
        for text in reversed(self._entries(headers)[-HOPS:]):
            address = _parsed(text)
            if address is None:
                break
            found = str(address)
            if not self.trusts(address):
                break
        return found

    def _entries(self, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
        entries = [
            one.strip()
            for name, value in headers
            if name == self._header
            for one in value.decode("latin-1").split(",")
        ]
        if self._header != b"forwarded":
            return entries
        nodes = (_FOR.search(one) for one in entries)
        return ["" if one is None else one["node"] for one in nodes]

    def trusts(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether a peer at this address is believed."""
        return any(address.version == one.version and address in one for one in self._networks)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with or without a port; an IPv4-mapped one as the one of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        match = _PORT.match(text)
        if match is None:
            return None
        try:
            address = ipaddress.ip_address(match["host"].strip("[]"))
        except ValueError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
