"""Real targets on loopback: an HTTP server that can misbehave, and a mail server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP

OK = b"HTTP/1.1 200 OK\r\nX-Answer: yes\r\nContent-Length: 2\r\n\r\nok"


class Target:
    """Answers 200, or what ``answers`` says, one after the other; the last one stays."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        """Request line, headers, body."""
        self.answers: list[bytes] = [OK]

    def url(self, path: str = "/hook") -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{path}"

    def bodies(self) -> list[Any]:
        """What was sent, decoded."""
        return [json.loads(body) for _, _, body in self.received if body]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.strip().split("\r\n")
            headers = dict(one.split(": ", 1) for one in rest)
            lowered = {name.lower(): value for name, value in headers.items()}
            body = await reader.readexactly(int(lowered.get("content-length", "0")))
            self.received.append((line, lowered, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(answer)
            await writer.drain()
        writer.close()
        with suppress(ConnectionError, OSError):
            await writer.wait_closed()


@asynccontextmanager
async def target(port: int = 0) -> AsyncIterator[Target]:
    """An HTTP target on loopback."""
    found = Target()
    server = await asyncio.start_server(found.serve, "127.0.0.1", port)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()


class Mailbox:
    """Keeps what a mail server was given; refuses addresses that begin with ``refuse``."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], EmailMessage]] = []
        self.port = 0

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: object, session: object, envelope: Any, address: str, options: object
    ) -> str:
        """Take or refuse a recipient."""
        del server, session, options
        if address.startswith("refuse"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802 - as above
        """Keep a mail."""
        del server, session
        mail = BytesParser(_class=EmailMessage, policy=default).parsebytes(envelope.content)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
        return "250 OK"


@asynccontextmanager
async def mail_server() -> AsyncIterator[Mailbox]:
    """A mail server on loopback."""
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        await server.wait_closed()
