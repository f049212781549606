"""Whose address a request came from, as far as proxies can be trusted to say so."""

import ipaddress
from collections.abc import Sequence

from litestar.types import Scope

from taskyard.dialects.http.requests import address_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks of these texts; an address alone is a network of one."""
    return tuple(ipaddress.ip_network(one, strict=False) for one in texts)


def client_of(scope: Scope, trusted: Sequence[Network]) -> str | None:
    """The peer's address, or the last one before it that no trusted proxy has; None if unknown."""
    found = _plain(address_of(scope))
    if found is None or not _is_in(found, trusted):
        return found
    forwarded = [
        one.strip()
        for name, value in scope["headers"]
        if name == b"x-forwarded-for"
        for one in value.decode("latin-1").split(",")
    ]
    for one in reversed(forwarded):
        address = _plain(one)
        if address is None:
            return None
        found = address
        if not _is_in(address, trusted):
            break
    return found


def _plain(text: str | None) -> str | None:
    """An address as text; one of IPv4 inside IPv6 as that of IPv4."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _is_in(text: str, trusted: Sequence[Network]) -> bool:
    address = ipaddress.ip_address(text)
    return any(address.version == one.version and address in one for one in trusted)
