"""The names that a server answers to, so that no name of somebody else leads to it.

A page whose name is made to resolve to this machine (DNS rebinding) would otherwise be of one
origin with the server. A network address as the host cannot be rebound, and neither can
``localhost``, which browsers resolve themselves; every other name has to be known. Ports are not
compared: port forwarding changes them, and rebinding needs a name.
"""

from collections.abc import Iterable
from typing import Final

from taskyard.dialects.http.authorities import Authority, is_address, parse_authority

_REMEMBERED: Final = 256


class Hosts:
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
