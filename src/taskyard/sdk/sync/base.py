# Made by tools/unasync.py from taskyard/sdk/aio/base.py: change that file instead.
"""What every method of the client goes through: connections, repeats, pages and streams."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from taskyard.sdk import client_models
from taskyard.sdk.connection import Address, RepeatPolicy, cause_of, check, headers
from taskyard.sdk.errors import NotFound, Refused, Unreachable
from taskyard.sdk.requests import Request
from taskyard.sdk.sse import EventParser, ServerSentEvent

T = TypeVar("T")
SILENCE_S = 60.0
"""A stream that sends nothing, not even a ping, for so long is considered broken."""


class BaseClient:
    """Sends requests to one server and reads the answers."""

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
        """Address a server; nothing is sent yet.

        Args:
            url: ``http://…``, ``https://…`` or ``unix:/path/control.sock``.
            token: A bearer token.
            user: Name for Basic authentication, in place of a token.
            password: That user's password.
            timeout_s: Seconds each request may take, not counting the time it waits on purpose.
            workspace: Selects a workspace; used only at the control socket, where no credential
                names one.
            retries: How often a request is sent again after the first time.

        Raises:
            ValueError: The url cannot be used, or there is both a token and a user.
        """
        self.address = Address.parse(url)
        self._timeout_s = timeout_s
        self._retries = retries
        self._http = httpx2.Client(
            base_url=self.address.base_url,
            headers=headers(token, user, password, workspace),
            timeout=timeout_s,
            verify=self.address.verify,
            trust_env=self.address.through_proxy,
            transport=(
                httpx2.HTTPTransport(uds=self.address.socket_path, verify=False)
                if self.address.socket_path
                else None
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _send(self, request: Request[T], policy: RepeatPolicy | None = None) -> T:
        policy = policy or RepeatPolicy(self._retries)
        while True:
            try:
                response = self._http.request(
                    request.method,
                    request.path,
                    params=tuple(request.parameters),
                    content=request.body,
                    headers={"content-type": "application/json"} if request.body else None,
                    timeout=self._timeout_s + request.extra_s,
                )
                check(response)
                return request.read(response.content)
            except (httpx2.TransportError, Refused) as error:
                delay_s = policy.delay_s(request, error)
                if delay_s is None:
                    if isinstance(error, Refused):
                        raise
                    raise Unreachable(self.address.url, cause_of(error)) from error
            time.sleep(delay_s)

    def _send_raw(self, request: Request[T], fields: Mapping[str, str]) -> httpx2.Response:
        """The answer as it is, whatever its status; sent once."""
        try:
            return self._http.request(
                request.method,
                request.path,
                params=tuple(request.parameters),
                content=request.body,
                headers=dict(fields),
                timeout=self._timeout_s + request.extra_s,
            )
        except httpx2.TransportError as error:
            raise Unreachable(self.address.url, cause_of(error)) from error

    def _send_delete(self, request: Request[None]) -> None:
        """Delete; "not found" counts as success if an earlier try may have deleted it."""
        policy = RepeatPolicy(self._retries)
        try:
            self._send(request, policy)
        except NotFound:
            if not policy.repeated:
                raise

    def _pages(
        self, request: Callable[[str | None], Request[client_models.Page[T]]]
    ) -> Iterator[T]:
        """The items of all pages; ``request`` makes the request from a cursor."""
        cursor: str | None = None
        while True:
            page = self._send(request(cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _stream(
        self, path: str, parameters: Sequence[tuple[str, str]]
    ) -> Generator[ServerSentEvent, None, None]:
        parser = EventParser()
        timeout = httpx2.Timeout(self._timeout_s, read=SILENCE_S)
        accept = {"accept": "text/event-stream"}
        try:
            with self._http.stream(
                "GET", path, params=tuple(parameters), headers=accept, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    check(response)
                for data in response.iter_bytes():
                    yield from parser.feed(data)
        except (httpx2.TransportError, ValueError) as error:
            raise Unreachable(self.address.url, cause_of(error)) from error
