"""Which network addresses an outgoing request may be sent to."""

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_RANGES: Final[tuple[tuple[str, str], ...]] = (
    # IANA special-purpose registries (RFC 6890 and later), plus multicast and retired ranges.
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "special-purpose"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4-compatible"),
    # Where the IPv4 address stands inside these is a matter of their networks.
    ("64:ff9b:1::/48", "local NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/23", "special-purpose"),  # Teredo is in it
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "special-purpose"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_REFUSED: Final = tuple((ip_network(text), kind) for text, kind in _RANGES)
_IN_LOW_BITS: Final = tuple(
    IPv6Network(text)
    for text in (
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291)
        "::ffff:0:0:0/96",  # IPv4-translated, SIIT (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
    )
)
_6TO4: Final = IPv6Network("2002::/16")
_ISATAP: Final = 0x00005EFE
"""The upper half of an interface id that ends with an IPv4 address (RFC 5214)."""
_ISATAP_GLOBAL: Final = 0x02005EFE
"""The same where that address is said to be unique."""
_LOW: Final = 0xFFFFFFFF
_PART: Final = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)\Z", re.ASCII)


def refusal(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why nothing may be sent to this address, such as ``loopback``; None if it may.

    An address that stands for an IPv4 address (IPv4-mapped, SIIT, 6to4, NAT64) is judged by that
    one, since that is where the packets go; one that may be a tunnel to an IPv4 address (ISATAP) by
    both. ``allowed`` networks are exceptions, for either form.
    """
    if any(address.version == network.version and address in network for network in allowed):
        return None
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is not None:
            return refusal(embedded, allowed)
    for network, kind in _REFUSED:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, IPv6Address) and (number := int(address)) >> 32 & _LOW in {
        _ISATAP,
        _ISATAP_GLOBAL,
    }:
        return refusal(IPv4Address(number & _LOW), allowed)
    return None


def parse_address(text: str) -> Address:
    """The address that a resolver makes of a host written as one, without looking it up.

    Besides the usual forms those that C libraries read as IPv4: fewer than four parts, in decimal,
    octal (``0177.1``) or hexadecimal (``0x7f.1``, ``2130706433``). A zone (``fe80::1%eth0``), the
    brackets of URLs and a final dot are left out. Raises ``ValueError`` for names.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" in text:
        return IPv6Address(text.partition("%")[0])
    return IPv4Address(_numeric(text.removesuffix(".")))


def _numeric(text: str) -> int:
    """As ``inet_aton``: the last part fills the bytes that the others leave."""
    *first, last = (_part(part, text) for part in text.split("."))
    room = 4 - len(first)
    if room < 1 or any(part > 0xFF for part in first) or last >> 8 * room:
        raise ValueError(f"{text!r} is not an address")
    number = last
    for position, part in enumerate(first):
        number |= part << 8 * (3 - position)
    return number


def _part(part: str, text: str) -> int:
    if not _PART.match(part):
        raise ValueError(f"{text!r} is not an address")
    try:
        if part[:2] in {"0x", "0X"}:
            return int(part[2:] or "0", 16)
        return int(part, 8) if part[0] == "0" and len(part) > 1 else int(part)
    except ValueError as error:  # 08, or thousands of digits
        raise ValueError(f"{text!r} is not an address") from error


def _embedded(address: IPv6Address) -> IPv4Address | None:
    number = int(address)
    if any(address in network for network in _IN_LOW_BITS):
        return IPv4Address(number & _LOW)
    if address in _6TO4:
        return IPv4Address(number >> 80 & _LOW)
    return None
