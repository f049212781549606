"""Hosts that users name: looked up once, and judged.

Nobody is to be led into the private network. A host is resolved once, every address it resolves to
is judged, and the connection goes to a judged address itself: there is no second look-up that a
hostile name server could answer differently. The name still travels in ``Host`` and in TLS, and
certificates are checked against it.
"""

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import anyio
import httpx2

from taskyard.core.errors import InvalidInput
from taskyard.core.notifications.addresses import Address, Network, parse_address, refusal
from taskyard.core.notifications.webhooks import check_url
from taskyard.ports.outgoing import SendFailed, TargetRefused

_AGENT: Final = "Taskyard"

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to addresses as text, the preferred one first; raises ``OSError``."""


async def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class GuardedTargets:
    """Finds out where to connect to.

    Args:
        allow_private: any address will do; for ``--dev``.
        allowed: networks that are allowed although they are private.
        resolver: how names are looked up.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        allowed: Sequence[Network] = (),
        resolver: Resolver = resolve,
    ) -> None:
        self._allow_private = allow_private
        self._allowed = tuple(allowed)
        self._resolve = resolver

    def refusal(self, address: Address) -> str | None:
        """What kind of address it is that nothing may be sent to; None if something may."""
        return None if self._allow_private else refusal(address, self._allowed)

    async def addresses(self, url: httpx2.URL) -> list[Address]:
        """Where the host is, at least one.

        Raises ``SendFailed`` if that cannot be found out, ``TargetRefused`` if any is refused.
        """
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            texts = await self._resolve(host, port)
            addresses = [parse_address(text) for text in dict.fromkeys(texts)]
        except (OSError, ValueError) as error:
            # UnicodeError, raised for names that IDNA cannot encode, is a ValueError.
            raise SendFailed(f"{host} cannot be resolved: {error}") from error
        if not addresses:
            raise SendFailed(f"{host} cannot be resolved: it has no address")
        for address in addresses:
            kind = self.refusal(address)
            if kind is not None:
                raise TargetRefused(f"{host} is at a {kind} address, which is not allowed here")
        return addresses


def usable(text: str) -> httpx2.URL:
    """A URL, read. Raises ``TargetRefused`` if nothing can be sent there."""
    try:
        check_url(text)
        return httpx2.URL(text)
    except (InvalidInput, httpx2.InvalidURL) as error:
        raise TargetRefused(f"the URL cannot be used: {error}") from error


def request_to(
    address: Address,
    url: httpx2.URL,
    method: str,
    headers: Mapping[str, str],
    body: bytes | None,
    connect_s: float,
) -> httpx2.Request:
    """A request that goes to this address, whatever its host is called.

    Raises ``ValueError`` for names and values that no header can have.
    """
    return httpx2.Request(
        method,
        url.copy_with(host=str(address), fragment=None),
        headers={
            "user-agent": _AGENT,
            "accept": "*/*",
            **{name.lower(): value for name, value in headers.items()},
            "host": url.netloc.decode("ascii"),
            "connection": "close",
            "accept-encoding": "identity",
        },
        content=body,
        extensions={
            "sni_hostname": url.raw_host.decode("ascii"),
            "timeout": {"connect": connect_s},
        },
    )
