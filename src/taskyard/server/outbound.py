"""Sends requests to targets that users chose, without being led into the private network.

A host is resolved once, every address it resolves to is judged, and the connection goes to a
judged address itself: there is no second look-up that a hostile name server could answer
differently. The name still travels in ``Host`` and in TLS, and certificates are checked against it.
Connections are not kept: two names at one address must not share one.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext
from typing import Final

import anyio
import httpx2

from taskyard.core.errors import InvalidInput
from taskyard.core.notifications.addresses import Address, Network, parse_address, refusal
from taskyard.core.notifications.webhooks import check_url
from taskyard.ports.outgoing import Answer, Post, SendFailed, TargetRefused

READ_LIMIT: Final = 64 * 1024
"""Bytes of an answer's body that are read; the rest is left unread."""
KEPT: Final = 2048
"""Bytes of them that are handed on."""
ADDRESSES_TRIED: Final = 3
CONNECT_S: Final = 4.0
"""Seconds to connect to one address, so that a dead one leaves time for the next."""
_AGENT: Final = "Taskyard"

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""From host and port to addresses as text, the preferred one first; raises ``OSError``."""


async def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Outbound:
    """The guarded sender; implements ``HttpSender``."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        allowed_networks: Sequence[Network] = (),
        resolver: Resolver = resolve,
        tls: SSLContext | None = None,
    ) -> None:
        """Prepare.

        Args:
            allow_private: send to any address whatever; for ``--dev``.
            allowed_networks: networks that are allowed although they are private.
            resolver: how names are looked up.
            tls: how certificates are checked; the usual authorities if None.
        """
        self._allow_private = allow_private
        self._allowed = tuple(allowed_networks)
        self._resolve = resolver
        # The bare transport: a client would keep cookies, follow proxies of the environment.
        self._transport = httpx2.AsyncHTTPTransport(
            verify=tls if tls is not None else True,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._trusting: httpx2.AsyncHTTPTransport | None = None

    def check_url(self, url: str, field: str = "url") -> None:
        """See ``HttpSender``. An address in the URL is judged at once, in whatever form it is."""
        check_url(url, field)
        try:
            host = _parsed(url).host
            address = parse_address(host)
        except httpx2.InvalidURL as error:
            raise InvalidInput(field, f"cannot be read: {error}") from error
        except ValueError:
            return
        kind = self._refusal(address)
        if kind is not None:
            raise InvalidInput(field, f"{host} is a {kind} address, which is not allowed here")

    async def send(self, post: Post) -> Answer:
        """See ``HttpSender``."""
        try:
            check_url(post.url)
            url = _parsed(post.url)
        except (InvalidInput, httpx2.InvalidURL) as error:
            raise TargetRefused(f"the URL cannot be used: {error}") from error
        addresses = await self._addresses(url)
        for address in addresses[:-1]:
            try:
                return await self._send(post, url, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
            except httpx2.HTTPError as error:
                raise _failure(error) from error
        try:
            return await self._send(post, url, addresses[-1])
        except httpx2.HTTPError as error:
            raise _failure(error) from error

    async def close(self) -> None:
        """See ``HttpSender``."""
        await self._transport.aclose()
        if self._trusting is not None:
            await self._trusting.aclose()

    def _transport_for(self, post: Post) -> httpx2.AsyncHTTPTransport:
        """The usual one, or one that checks no certificates; most servers never need the latter."""
        if post.verify_tls:
            return self._transport
        if self._trusting is None:
            self._trusting = httpx2.AsyncHTTPTransport(
                verify=False,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            )
        return self._trusting

    async def _addresses(self, url: httpx2.URL) -> list[Address]:
        """Where the host is; none of it refused, at least one."""
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
            kind = self._refusal(address)
            if kind is not None:
                raise TargetRefused(f"{host} is at a {kind} address, which is not allowed here")
        return addresses[:ADDRESSES_TRIED]

    def _refusal(self, address: Address) -> str | None:
        return None if self._allow_private else refusal(address, self._allowed)

    async def _send(self, post: Post, url: httpx2.URL, address: Address) -> Answer:
        request = httpx2.Request(
            post.method,
            url.copy_with(host=str(address), fragment=None),
            headers={
                "user-agent": _AGENT,
                "accept": "*/*",
                **{name.lower(): value for name, value in post.headers.items()},
                "host": url.netloc.decode("ascii"),
                "connection": "close",
                "accept-encoding": "identity",
            },
            content=post.body,
            extensions={
                "sni_hostname": url.raw_host.decode("ascii"),
                "timeout": {"connect": CONNECT_S},
            },
        )
        response = await self._transport_for(post).handle_async_request(request)
        body = bytearray()
        try:
            # Raw: a small compressed body could unpack into a huge one.
            size = 0
            async for part in response.aiter_raw():
                size += len(part)
                body += part[: KEPT - len(body)]
                if size >= READ_LIMIT:
                    break
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, bytes(body), headers)


def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def _failure(error: httpx2.HTTPError) -> SendFailed:
    return SendFailed(f"the request failed: {str(error) or type(error).__name__}")
