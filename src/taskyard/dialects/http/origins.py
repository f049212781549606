"""Hosts and origins that requests name, and the host names that a server answers to.

A page whose name is made to resolve to this machine (DNS rebinding) would otherwise be of one
origin with the server. A network address as the host cannot be rebound, and neither can
``localhost``, which browsers resolve themselves; every other name has to be known. Ports are not
compared: port forwarding changes them, and rebinding needs a name.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

_REMEMBERED: Final = 256
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_.-]{1,254}))(?::(?P<port>[0-9]{0,5}))?\Z"
)
_ORIGIN: Final = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#@\\]+)\Z", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Authority(NamedTuple):
    """A host and the port behind it."""

    host: str
    """In lower case and without a final dot; an address in its shortest form, without brackets."""
    port: int | None


class Origin(NamedTuple):
    """Where a page comes from; of ``http`` or ``https``."""

    scheme: str
    host: str
    port: int

    def is_of(self, authority: Authority) -> bool:
        """Whether pages of this origin are served at this host; behind a proxy the scheme is the
        proxy's, so that it is not compared.
        """
        port = authority.port or _DEFAULT_PORTS[self.scheme]
        return (self.host, self.port) == (authority.host, port)


def parse_authority(text: str) -> Authority | None:
    """The meaning of ``HOST[:PORT]``; None for what is neither a name nor an address."""
    match = _AUTHORITY.match(text)
    if match is None or int(match["port"] or 0) > 65535:
        return None
    port = int(match["port"]) if match["port"] else None
    if match["six"] is not None:
        try:
            return Authority(str(ipaddress.IPv6Address(match["six"])), port)
        except ValueError:
            return None
    host = match["name"].lower().removesuffix(".")
    return Authority(host, port) if host else None


def parse_origin(text: str) -> Origin | None:
    """The meaning of an ``Origin`` header; None for ``null`` and for other schemes."""
    match = _ORIGIN.match(text)
    authority = parse_authority(match["authority"]) if match else None
    if match is None or authority is None:
        return None
    scheme = match["scheme"].lower()
    return Origin(scheme, authority.host, authority.port or _DEFAULT_PORTS[scheme])


def is_address(host: str) -> bool:
    """Whether a host is a network address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class AllowedHosts:
    """Decides by the ``Host`` of requests."""

    def __init__(self, names: Iterable[str]) -> None:
        """Answer to these: names, ``*.example.com`` for all names below one, ``*`` for any."""
        clean = [one.strip().lower().removesuffix(".") for one in names]
        self._any = "*" in clean
        self._below = (".localhost", *(one[1:] for one in clean if one.startswith("*.")))
        self._names = {"localhost", *(one for one in clean if not one.startswith("*"))}
        self._known: dict[bytes, Authority] = {}

    def known(self, value: bytes) -> Authority | None:
        """The host that a header names, if this server answers to it; None otherwise."""
        # Nearly all requests name one of very few hosts.
        found = self._known.get(value)
        if found is not None:
            return found
        found = parse_authority(value.decode("latin-1"))
        if found is None or not self._accepts(found.host):
            return None
        if len(self._known) < _REMEMBERED:
            self._known[value] = found
        return found

    def _accepts(self, host: str) -> bool:
        if self._any or host in self._names or is_address(host):
            return True
        return host.endswith(self._below)
