"""Fetches documents for tasks from where their owners say, but not from the private network.

As for webhooks: a name is resolved once, every address is judged, and the connection goes to a
judged address itself. See ``guarded_targets.py``.
"""

import anyio
import httpx2

from taskyard.core.notifications.addresses import Address
from taskyard.ports.outgoing import Answer, Fetch, SendFailed
from taskyard.server.guarded_targets import (
    GuardedTargets,
    Resolver,
    request_to,
    resolve,
    usable,
)


class GuardedFetcher:
    """Implements ``ports.fetching.Fetcher``. Connections are made for one fetch each."""

    def __init__(self, *, allow_private: bool = False, resolver: Resolver = resolve) -> None:
        """Prepare.

        Args:
            allow_private: fetch from any address whatever; for ``--dev``.
            resolver: how names are looked up.
        """
        self._targets = GuardedTargets(allow_private=allow_private, resolver=resolver)

    async def __call__(self, wanted: Fetch) -> Answer:
        """See the port."""
        url = usable(wanted.url)
        with anyio.move_on_after(wanted.connect_s + wanted.total_s):
            address, *_ = await self._targets.addresses(url)
            try:
                return await self._fetch(wanted, url, address)
            except (httpx2.HTTPError, OSError, ValueError) as error:
                # Names and values that no header can have are ValueErrors.
                text = str(error) or type(error).__name__
                raise SendFailed(f"the request failed: {text}") from error
        raise SendFailed(f"no answer within {wanted.connect_s + wanted.total_s:g} s")

    async def _fetch(self, wanted: Fetch, url: httpx2.URL, address: Address) -> Answer:
        request = request_to(
            address, url, wanted.method, wanted.headers, wanted.body, wanted.connect_s
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
