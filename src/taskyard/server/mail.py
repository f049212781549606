"""Hands mails to an SMTP server, one connection each, on a thread."""

import smtplib
import ssl
from typing import Final

import anyio.to_thread

from taskyard.ports.outgoing import MailFailed

TIMEOUT_S: Final = 10.0
"""Seconds for each step of the conversation."""
AT_ONCE: Final = 4


class SmtpMail:
    """Implements ``MailSender``."""

    def __init__(
        self,
        host: str,
        port: int,
        user: str | None = None,
        password: str | None = None,
        *,
        starttls: bool = False,
    ) -> None:
        """Prepare; ``starttls`` turns the connection into an encrypted one before anything else."""
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._starttls = starttls
        self._threads: anyio.CapacityLimiter | None = None

    async def send(self, sender: str, recipient: str, content: bytes) -> None:
        """See the port."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(AT_ONCE)
        await anyio.to_thread.run_sync(
            self._send, sender, recipient, content, abandon_on_cancel=True, limiter=self._threads
        )

    def _send(self, sender: str, recipient: str, content: bytes) -> None:
        try:
            with smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S) as server:
                if self._starttls:
                    server.starttls(context=ssl.create_default_context())
                if self._user and self._password:
                    server.login(self._user, self._password)
                server.sendmail(sender, [recipient], content)
        except (OSError, smtplib.SMTPException, UnicodeError, ValueError) as error:
            raise MailFailed(f"the mail was not accepted: {error}") from error
