"""The outgoing mail port."""

from typing import Protocol

from taskyard.core.errors import TaskyardError


class MailFailed(TaskyardError):
    """The mail was not accepted, or no mail server could be reached."""


class MailSender(Protocol):
    """Hands mails to a mail server."""

    async def send(self, sender: str, recipient: str, content: bytes) -> None:
        """Send a complete RFC 5322 message to one address. Raises ``MailFailed``."""
        ...
