"""Sends requests to targets that users chose, without being led into the private network.

Where they lead is judged in ``guarded_targets.py``. Connections are not kept: two names at one
address must not share one.
"""

from collections.abc import Sequence
from ssl import SSLContext
from typing import Final

import anyio
import httpx2

from taskyard.core.errors import InvalidInput
from taskyard.core.notifications.addresses import Address, Network, parse_address
from taskyard.core.notifications.webhooks import check_url
from taskyard.ports.outgoing import Answer, Post, SendFailed
from taskyard.server.guarded_targets import (
    GuardedTargets,
    Resolver,
    request_to,
    resolve,
    usable,
)

READ_LIMIT: Final = 64 * 1024
"""Bytes of an answer's body that are read; the rest is left unread."""
KEPT: Final = 2048
"""Bytes of them that are handed on."""
ADDRESSES_TRIED: Final = 3
CONNECT_S: Final = 4.0
"""Seconds to connect to one address, so that a dead one leaves time for the next."""


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
        self._targets = GuardedTargets(
            allow_private=allow_private, allowed=allowed_networks, resolver=resolver
        )
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
            host = httpx2.URL(url).host
            address = parse_address(host)
        except httpx2.InvalidURL as error:
            raise InvalidInput(field, f"cannot be read: {error}") from error
        except ValueError:
            return
        kind = self._targets.refusal(address)
        if kind is not None:
            raise InvalidInput(field, f"{host} is a {kind} address, which is not allowed here")

    async def send(self, post: Post) -> Answer:
        """See ``HttpSender``."""
        url = usable(post.url)
        addresses = (await self._targets.addresses(url))[:ADDRESSES_TRIED]
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

    async def _send(self, post: Post, url: httpx2.URL, address: Address) -> Answer:
        request = request_to(address, url, post.method, post.headers, post.body, CONNECT_S)
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


def _failure(error: httpx2.HTTPError) -> SendFailed:
    return SendFailed(f"the request failed: {str(error) or type(error).__name__}")
