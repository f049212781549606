"""A worker as an attacker would write it: a plain client of NATS with a join string."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from eventually import eventually_async
from taskyard.core.access.join_string import JoinString

CONNECT_S = 20


class RawWorker:
    """One connection, and what NATS complained of."""

    def __init__(self, client: Client, join: JoinString) -> None:
        self.client = client
        self.errors: list[str] = []
        self.heard: list[Msg] = []
        self.root = f"taskyard.{join.installation}"
        self.name = join.name

    async def note(self, error: Exception) -> None:
        """The library reports an error."""
        self.errors.append(str(error).lower())

    async def take(self, message: Msg) -> None:
        """Something was heard."""
        self.heard.append(message)

    async def listen(self, subject: str, queue: str = "") -> None:
        """Subscribe, and have the server deal with it."""
        await self.client.subscribe(subject, queue, self.take)
        await self.client.flush()

    async def say(self, subject: str, payload: bytes = b"", reply: str = "") -> None:
        """Publish, and have the server deal with it."""
        await self.client.publish(subject, payload, reply)
        await self.client.flush()

    async def is_violation(self, kind: str, subject: str) -> None:
        """Wait until the server has refused this."""
        wanted = f'permissions violation for {kind} to "{subject.lower()}"'
        await eventually_async(lambda: any(wanted in one for one in self.errors))

    async def ask(self, what: str, payload: bytes) -> bytes:
        """Ask the control planes as a worker does; the answer as it came.

        Nothing if nobody takes such requests.
        """
        inbox = f"{self.root}.worker.{self.name}.answers.{len(self.heard)}x{id(payload)}"
        found: list[Msg] = []

        async def on_answer(message: Msg) -> None:
            found.append(message)

        subscription = await self.client.subscribe(inbox, cb=on_answer)
        await self.say(f"{self.root}.engine.{self.name}.{what}", payload, inbox)
        await eventually_async(lambda: bool(found))
        await subscription.unsubscribe()
        return bytes(found[0].data)


@asynccontextmanager
async def raw_worker(join: JoinString, **instead: Any) -> AsyncIterator[RawWorker]:
    """Connect with a join string; ``instead`` are other options for the library."""
    client = Client()
    worker = RawWorker(client, join)
    context = None
    if join.ca_pem is not None:
        context = ssl.create_default_context(cadata=join.ca_pem)
    options = {
        "servers": list(join.urls),
        "user": join.name,
        "password": join.secret,
        "tls": context,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "connect_timeout": CONNECT_S,
        "error_cb": worker.note,
        **instead,
    }
    try:
        await client.connect(**options)
        yield worker
    finally:
        with contextlib.suppress(Exception):
            await client.close()
