"""What both clients share besides the requests: address, credential, and rules for repeating."""

import base64
import time
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from taskyard.sdk.errors import Problem, Refused, Unavailable, Unreachable, refusal
from taskyard.sdk.requests import Request

T = TypeVar("T")

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "taskyard"})


class Address(msgspec.Struct, frozen=True):
    """Where a server is: over TCP, or at a Unix socket of this machine."""

    url: str
    """As it was given; what messages show."""
    base_url: str
    socket_path: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read ``http://…``, ``https://…`` or ``unix:/path``. Raises ``ValueError`` otherwise."""
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            path = "/" + path.lstrip("/") if path.startswith("//") else path
            if not path:
                raise ValueError("a unix: address needs the path of a socket")
            return cls(url, "http://taskyard", path)
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                f"{url!r} is not a server address: use http://HOST:PORT, https://HOST or unix:/PATH"
            )
        return cls(url, url.rstrip("/"))

    @property
    def verify(self) -> bool:
        """Whether certificates matter; loading the trusted ones for nothing takes a while."""
        return self.base_url.startswith("https:")

    @property
    def through_proxy(self) -> bool:
        """Whether a proxy of the environment may stand in between: never for this machine."""
        return urlsplit(self.base_url).hostname not in _LOOPBACK


def headers(
    token: str | None, user: str | None, password: str | None, workspace: str | None
) -> dict[str, str]:
    """The header fields every request carries. Raises ``ValueError`` for two credentials."""
    fields = {"accept": "application/json", "accept-encoding": "identity"}
    if token is not None and user is not None:
        raise ValueError("give a token or a user, not both")
    if token is not None:
        fields["authorization"] = f"Bearer {token}"
    elif user is not None:
        pair = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        fields["authorization"] = f"Basic {pair}"
    if workspace is not None:
        fields["taskyard-workspace"] = workspace
    return fields


def check(response: httpx2.Response) -> None:
    """Raise the :class:`Refused` for an error answer."""
    if response.is_success:
        return
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem(detail=f"{response.status_code} {response.reason_phrase}".strip())
    if problem.status != response.status_code:
        problem = msgspec.structs.replace(problem, status=response.status_code)
    raise refusal(problem, response.headers.get("retry-after"))


def cause_of(error: Exception) -> str:
    """The network error as text; some errors of httpx2 have no message."""
    return str(error) or type(error).__name__


class RepeatPolicy:
    """Decides whether a request is sent again, and after how long."""

    def __init__(self, retries: int) -> None:
        self._left = retries
        self._delay_s = FIRST_DELAY_S
        self.repeated = False
        """Whether the request may have reached the server before."""

    def delay_s(self, request: Request[T], error: httpx2.TransportError | Refused) -> float | None:
        """Seconds until the next try; None when the error stands.

        What never left this machine can always go again; everything else only when sending it
        twice is the same as sending it once.
        """
        never_sent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        if isinstance(error, Refused) and not isinstance(error, Unavailable):
            return None
        if self._left <= 0 or not (never_sent or request.repeatable):
            return None
        self._left -= 1
        self.repeated = self.repeated or not never_sent
        delay_s, self._delay_s = self._delay_s, min(self._delay_s * 2, MAX_DELAY_S)
        return delay_s


class Reconnection:
    """Delays between reconnections of a follower, and when to give up."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._url = url
        self._patience_s = patience_s
        self._since: float | None = None
        self._delays = self._grow()

    def restore(self) -> None:
        """Something arrived: start over."""
        if self._since is not None:
            self._since = None
            self._delays = self._grow()

    def delay_s(self, cause: str) -> float:
        """Seconds until the next try. Raises :class:`Unreachable` after ``patience_s``."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since >= self._patience_s:
            raise Unreachable(self._url, cause)
        return next(self._delays)

    @staticmethod
    def _grow() -> Iterator[float]:
        delay_s = FIRST_DELAY_S
        while True:
            yield delay_s
            delay_s = min(delay_s * 2, MAX_DELAY_S)
