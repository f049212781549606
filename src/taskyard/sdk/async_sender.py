"""How the asynchronous client sends; the rules are those of :mod:`taskyard.sdk.sender`."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx

from taskyard.sdk import models
from taskyard.sdk.calls import Call
from taskyard.sdk.errors import NotFound, Refused, Unreachable
from taskyard.sdk.exchange import Address, Attempts, cause_of, check, headers
from taskyard.sdk.sender import SILENCE_S
from taskyard.sdk.sse import EventParser, ServerSentEvent

T = TypeVar("T")


class AsyncSender:
    """Sends calls to one server and reads the answers, on any AnyIO event loop."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout_s: float = 30.0,
        *,
        workspace: str | None = None,
        retries: int = 3,
    ) -> None:
        """Address a server; nothing is sent yet. Arguments and errors are those of ``Client``."""
        self.address = Address.parse(url)
        self._timeout_s = timeout_s
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=self.address.base_url,
            headers=headers(token, user, password, workspace),
            timeout=timeout_s,
            verify=self.address.verify,
            trust_env=self.address.through_proxy,
            transport=(
                httpx.AsyncHTTPTransport(uds=self.address.socket_path, verify=False)
                if self.address.socket_path
                else None
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        attempts = attempts or Attempts(self._retries)
        while True:
            try:
                response = await self._http.request(
                    call.method,
                    call.path,
                    params=tuple(call.parameters),
                    content=call.body,
                    headers={"content-type": "application/json"} if call.body else None,
                    timeout=self._timeout_s + call.extra_s,
                )
                check(response)
                return call.read(response.content)
            except (httpx.TransportError, Refused) as error:
                delay_s = attempts.delay_s(call, error)
                if delay_s is None:
                    if isinstance(error, Refused):
                        raise
                    raise Unreachable(self.address.url, cause_of(error)) from error
            await anyio.sleep(delay_s)

    async def _answer(self, call: Call[T], fields: Mapping[str, str]) -> httpx.Response:
        """The answer as it is, whatever its status; sent once."""
        try:
            return await self._http.request(
                call.method,
                call.path,
                params=tuple(call.parameters),
                content=call.body,
                headers=dict(fields),
                timeout=self._timeout_s + call.extra_s,
            )
        except httpx.TransportError as error:
            raise Unreachable(self.address.url, cause_of(error)) from error

    async def _remove(self, call: Call[None]) -> None:
        attempts = Attempts(self._retries)
        try:
            await self._send(call, attempts)
        except NotFound:
            if not attempts.repeated:
                raise

    async def _walk(self, call: Callable[[str | None], Call[models.Page[T]]]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self._send(call(cursor))
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _stream(
        self, path: str, parameters: Sequence[tuple[str, str]]
    ) -> AsyncGenerator[ServerSentEvent, None]:
        parser = EventParser()
        timeout = httpx.Timeout(self._timeout_s, read=SILENCE_S)
        accept = {"accept": "text/event-stream"}
        try:
            async with self._http.stream(
                "GET", path, params=tuple(parameters), headers=accept, timeout=timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                    check(response)
                async for data in response.aiter_bytes():
                    for event in parser.feed(data):
                        yield event
        except (httpx.TransportError, ValueError) as error:
            raise Unreachable(self.address.url, cause_of(error)) from error
