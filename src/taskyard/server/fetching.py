"""Fetches documents for tasks from where their owners say, but not from the private network.

As for webhooks: a name is resolved once, every address is judged, and the connection goes to a
judged address itself. See ``server/outbound.py``.
"""

import anyio
import httpx2

from taskyard.core.errors import InvalidInput
from taskyard.core.notifications.addresses import Address, parse_address, refusal
from taskyard.core.notifications.webhooks import check_url
from taskyard.ports.outgoing import Answer, Fetch, SendFailed, TargetRefused
from taskyard.server.outbound import Resolver, resolve


class GuardedFetcher:
    """Implements ``ports.fetching.Fetcher``. Connections are made for one fetch each."""

    def __init__(self, *, allow_private: bool = False, resolver: Resolver = resolve) -> None:
        """Prepare.

        Args:
            allow_private: fetch from any address whatever; for ``--dev``.
            resolver: how names are looked up.
        """
        self._allow_private = allow_private
        self._resolve = resolver

    async def __call__(self, wanted: Fetch) -> Answer:
        """See the port."""
        try:
            check_url(wanted.url)
            url = httpx2.URL(wanted.url)
        except (InvalidInput, httpx2.InvalidURL) as error:
            raise TargetRefused(f"the URL cannot be used: {error}") from error
        with anyio.move_on_after(wanted.connect_s + wanted.total_s):
            address = await self._address(url)
            try:
                return await self._fetch(wanted, url, address)
            except (httpx2.HTTPError, OSError, ValueError) as error:
                # Names and values that no header can have are ValueErrors.
                text = str(error) or type(error).__name__
                raise SendFailed(f"the request failed: {text}") from error
        raise SendFailed(f"no answer within {wanted.connect_s + wanted.total_s:g} s")

    async def _address(self, url: httpx2.URL) -> Address:
        """Where the host is; nothing that it resolves to is refused."""
        host = url.raw_host.decode("ascii")
        try:
            texts = await self._resolve(host, url.port or (443 if url.scheme == "https" else 80))
            addresses = [parse_address(text) for text in texts]
        except (OSError, ValueError) as error:
            raise SendFailed(f"{host} cannot be resolved: {error}") from error
        if not addresses:
            raise SendFailed(f"{host} cannot be resolved: it has no address")
        for address in addresses:
            kind = None if self._allow_private else refusal(address, ())
            if kind is not None:
                raise TargetRefused(f"{host} is at a {kind} address, which is not allowed here")
        return addresses[0]

    async def _fetch(self, wanted: Fetch, url: httpx2.URL, address: Address) -> Answer:
        request = httpx2.Request(
            wanted.method,
            url.copy_with(host=str(address), fragment=None),
            headers={
                "user-agent": "Taskyard",
                "accept": "*/*",
                **{name.lower(): value for name, value in wanted.headers.items()},
                "host": url.netloc.decode("ascii"),
                "connection": "close",
                "accept-encoding": "identity",
            },
            content=wanted.body,
            extensions={
                "sni_hostname": url.raw_host.decode("ascii"),
                "timeout": {"connect": wanted.connect_s},
            },
        )
        async with httpx2.AsyncHTTPTransport(verify=wanted.verify_tls) as transport:
            response = await transport.handle_async_request(request)
            body = bytearray()
            try:
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > wanted.limit_bytes:
                        raise SendFailed(f"the answer has more than {wanted.limit_bytes} bytes")
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                    await response.aclose()
        return Answer(response.status_code, bytes(body))
