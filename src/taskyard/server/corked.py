"""A transport that joins the pieces of a response into one write."""

import asyncio
from typing import Any


class Corked:
    """A transport that joins the writes of one turn of the loop.

    uvicorn writes the head and the body of an answer apart; sent together they cost one system
    call less, and wake the client once instead of twice.
    """

    __slots__ = ("_loop", "_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send this before the loop turns to what happened next."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def uncorked(self) -> asyncio.Transport:
        """The transport itself, once nothing waits to be joined."""
        self._flush()
        return self._transport

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)
