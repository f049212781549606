"""The outgoing HTTP port: one guarded request."""

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
