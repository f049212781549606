"""Ports for what goes out: guarded HTTP requests, fetched documents, mails."""

from typing import Protocol

from msgspec import Struct

from taskyard.core.errors import TaskyardError


class SendFailed(TaskyardError):
    """The request could not be delivered, or no complete answer came back."""


class TargetRefused(SendFailed):
    """The target is not one that requests may be sent to; nothing was sent."""


class Post(Struct, frozen=True):
    """A request on its way out."""

    url: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"
    verify_tls: bool = True
    """Whether the target has to prove with a certificate that it is who it says."""


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes
    """The beginning of the body; the rest was not read or not kept."""
    headers: dict[str, str] = {}
    """Names in lower case; of several with one name, the last."""


class HttpSender(Protocol):
    """Sends requests to targets that users chose, and guards everything they should not reach."""

    def check_url(self, url: str, field: str = "url") -> None:
        """Raise ``InvalidInput`` naming ``field`` for a URL that could never be sent to.

        Names are not resolved here: what they stand for is judged each time something is sent.
        """
        ...

    async def send(self, post: Post) -> Answer:
        """Send once; redirects are answers like others. The caller sets the deadline.

        Raises:
            TargetRefused: the host, or an address it resolves to, is not allowed.
            SendFailed: no connection, or it broke.
        """
        ...

    async def close(self) -> None:
        """Close what is open. May be called twice."""
        ...


class MailFailed(TaskyardError):
    """The mail was not accepted, or no mail server could be reached."""


class MailSender(Protocol):
    """Hands mails to a mail server."""

    async def send(self, sender: str, recipient: str, content: bytes) -> None:
        """Send a complete RFC 5322 message to one address. Raises ``MailFailed``."""
        ...


class Fetch(Struct, frozen=True):
    """What to ask for."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    body: bytes = b""
    verify_tls: bool = True
    """Whether the target has to prove with a certificate that it is who it says."""
    connect_s: float = 1.0
    """Seconds to connect."""
    total_s: float = 1.0
    """Seconds for all of it, after the connection was made."""
    limit_bytes: int = 1 << 20
    """Largest answer."""


class Fetcher(Protocol):
    """Fetches once; redirects are answers like others."""

    async def __call__(self, wanted: Fetch) -> Answer:
        """The answer with its whole body.

        Raises:
            TargetRefused: the host, or an address it resolves to, is not allowed.
            SendFailed: no connection, it broke or took too long, or the answer is too large.
        """
        ...
