"""Limits the connections of one address on a listener, so that others can still connect."""

import ipaddress
from typing import Final

from taskyard.dialects.http.proxies import Proxies
from taskyard.dialects.http.shares import DEFAULT_PERCENT, Shares
from taskyard.services.access.login_throttle import source_of

MOST_CONNECTIONS: Final = 8192
"""Connections of one listener."""


class ConnectionLimit:
    """Counts the connections of one listener by the address of the peer.

    Those of trusted proxies are not counted: what they pass on counts for their clients, where it
    stays open for long.
    """

    def __init__(self, proxies: Proxies | None = None, percent: int = DEFAULT_PERCENT) -> None:
        self._proxies = proxies
        self._shares = Shares("connections", MOST_CONNECTIONS, percent)

    def enter(self, address: str | None) -> str | None:
        """Count a connection; returns the key for :meth:`leave`. Raises ``Overloaded``."""
        who = source_of(address)
        if who is None or address is None or self._is_proxy(address):
            return None
        self._shares.take(who)
        return who

    def leave(self, who: str) -> None:
        """Uncount a connection."""
        self._shares.give_back(who)

    def _is_proxy(self, address: str) -> bool:
        try:
            return self._proxies is not None and self._proxies.trusts(
                ipaddress.ip_address(address.partition("%")[0])
            )
        except ValueError:
            return False
