"""Tries NATS out, as ``taskyard doctor`` does: connects, and sends a message to itself."""

import secrets
import time
from typing import Any, Final

import anyio

from taskyard.transport.nats.connection import nats_connection
from taskyard.transport.nats.errors import NatsUnavailable
from taskyard.transport.nats.options import NatsOptions

ANSWER_S: Final = 3.0
"""Seconds for a message to itself."""


def probe(options: NatsOptions) -> str:
    """Where NATS is, and how quick. Blocks; nothing of it is left.

    Raises:
        NatsUnavailable: it cannot be reached, does not let us in, or delivers nothing.
    """
    return anyio.run(_probe, options, backend="asyncio")


async def _probe(options: NatsOptions) -> str:
    subject, arrived = f"taskyard.doctor.{secrets.token_hex(8)}", anyio.Event()

    async def on_message(message: Any) -> None:
        del message
        arrived.set()

    where = ", ".join(one.url for one in options.servers)
    async with nats_connection(options, "taskyard doctor") as connection:
        await connection.subscribe(subject, on_message)
        await connection.first()
        began = time.monotonic()
        with anyio.move_on_after(ANSWER_S):
            await connection.send(subject, b"")
            await arrived.wait()
        took_ms = (time.monotonic() - began) * 1000
        if not arrived.is_set():
            raise NatsUnavailable(
                f"NATS at {where} delivers nothing on taskyard.>; let the user of the control"
                " planes publish to and subscribe to it"
            )
        size = connection.most_bytes >> 10
        return f"{where} answers in {took_ms:.1f} ms, takes messages of {size} KiB"
