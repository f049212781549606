"""How the synchronous client sends: connections, repeats, pages and streams."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx

from taskyard.sdk import models
from taskyard.sdk.calls import Call
from taskyard.sdk.errors import NotFound, Refused, Unreachable
from taskyard.sdk.exchange import Address, Attempts, cause_of, check, headers
from taskyard.sdk.sse import EventParser, ServerSentEvent

T = TypeVar("T")
SILENCE_S = 60.0
"""A stream that sends nothing, not even a ping, for so long is taken for broken."""


class Sender:
    """Sends calls to one server and reads the answers."""

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
            timeout_s: Seconds each request may take, waiting on purpose aside.
            workspace: Selects a workspace; heeded at the control socket only, where no credential
                names one.
            retries: How often a request is sent again after the first time.

        Raises:
            ValueError: The url cannot be used, or there is both a token and a user.
        """
        self.address = Address.parse(url)
        self._timeout_s = timeout_s
        self._retries = retries
        self._http = httpx.Client(
            base_url=self.address.base_url,
            headers=headers(token, user, password, workspace),
            timeout=timeout_s,
            verify=self.address.verify,
            trust_env=self.address.through_proxy,
            transport=(
                httpx.HTTPTransport(uds=self.address.socket_path, verify=False)
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

    def _send(self, call: Call[T], attempts: Attempts | None = None) -> T:
        attempts = attempts or Attempts(self._retries)
        while True:
            try:
                response = self._http.request(
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
            time.sleep(delay_s)

    def _answer(self, call: Call[T], fields: Mapping[str, str]) -> httpx.Response:
        """The answer as it is, whatever its status; sent once."""
        try:
            return self._http.request(
                call.method,
                call.path,
                params=tuple(call.parameters),
                content=call.body,
                headers=dict(fields),
                timeout=self._timeout_s + call.extra_s,
            )
        except httpx.TransportError as error:
            raise Unreachable(self.address.url, cause_of(error)) from error

    def _remove(self, call: Call[None]) -> None:
        attempts = Attempts(self._retries)
        try:
            self._send(call, attempts)
        except NotFound:
            if not attempts.repeated:
                raise

    def _walk(self, call: Callable[[str | None], Call[models.Page[T]]]) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = self._send(call(cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _stream(
        self, path: str, parameters: Sequence[tuple[str, str]]
    ) -> Generator[ServerSentEvent, None, None]:
        parser = EventParser()
        timeout = httpx.Timeout(self._timeout_s, read=SILENCE_S)
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
        except (httpx.TransportError, ValueError) as error:
            raise Unreachable(self.address.url, cause_of(error)) from error
