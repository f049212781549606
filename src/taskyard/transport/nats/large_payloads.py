"""Payloads larger than NATS takes: who gets one is told of it, and asks for it in parts.

So nothing has to be put together from messages that somebody sends on his own, in whatever order:
each part is a request of its own, repeated when it is lost, and no faster than it is taken.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import Struct

from taskyard.core.errors import Overloaded
from taskyard.ports.errors import PayloadTooLarge, TimedOut, Unreachable
from taskyard.ports.messages import MOST_BYTES
from taskyard.transport.addresses import Address, may_own
from taskyard.transport.envelopes import Bytes, encode

ENVELOPE_BYTES: Final = 1024
"""Room for what is around a payload."""
RANGE_BYTES: Final = 512 << 10
RANGE_S: Final = 2.0
"""Seconds until a range is asked for again."""
TRIES: Final = 3
KEPT_BYTES: Final = 256 << 20
"""What one process keeps for others to fetch, at most."""

Ask = Callable[[Address, str, bytes, float], Awaitable[bytes]]


class RangeRequest(Struct, frozen=True, array_like=True):
    """Asks for a range of what the receiver keeps."""

    key: str
    offset: int
    length: int


def fits(payload: bytes, limit: int) -> bool:
    """Whether a message of at most ``limit`` bytes can hold it."""
    return len(payload) + ENVELOPE_BYTES <= limit


_RANGES = msgspec.msgpack.Decoder(RangeRequest)


class LargePayloads:
    """What one process keeps for others, and fetches from them."""

    WHAT: Final = "pieces"

    def __init__(self, own: Address, ask: Ask, limit: Callable[[], int]) -> None:
        self._own = own
        self._ask = ask
        self._limit = limit
        self._kept: dict[str, bytes] = {}
        self._kept_bytes = 0

    @contextmanager
    def offered(self, payload: bytes) -> Iterator[bytes | Bytes]:
        """What to send for a payload; it is kept while inside."""
        if fits(payload, self._limit()):
            yield payload
            return
        kept = self.keep(payload)
        try:
            yield kept
        finally:
            self.forget(kept)

    def keep(self, payload: bytes) -> Bytes:
        """Keep this until :meth:`forget`. Raises ``Overloaded`` if too much is kept already."""
        if self._kept_bytes + len(payload) > KEPT_BYTES:
            raise Overloaded("too many large messages are on their way", 1.0)
        key = secrets.token_hex(8)
        self._kept[key] = payload
        self._kept_bytes += len(payload)
        return Bytes(self._own, key, len(payload))

    def forget(self, kept: Bytes) -> None:
        """Keep this no longer."""
        self._kept_bytes -= len(self._kept.pop(kept.key, b""))

    async def serve(self, payload: bytes) -> bytes:
        """Answer a request for a range. Raises ``Unreachable`` if that is not kept any more."""
        try:
            asked = _RANGES.decode(payload)
        except msgspec.DecodeError as error:
            raise Unreachable(f"not a request for a range: {error}") from error
        kept = self._kept.get(asked.key)
        if kept is None:
            raise Unreachable("the rest of a large message is not kept any more")
        begin = max(0, asked.offset)
        return kept[begin : begin + min(max(0, asked.length), self._range_bytes)]

    @property
    def _range_bytes(self) -> int:
        """A range has to fit into one message, or it would be fetched in ranges itself."""
        return min(RANGE_BYTES, self._limit() - ENVELOPE_BYTES)

    async def take(self, payload: bytes | Bytes, sender: Address, most: int = MOST_BYTES) -> bytes:
        """A payload as a whole.

        Args:
            payload: as it arrived.
            sender: from whom.
            most: bytes that it may have.

        Raises:
            PayloadTooLarge: it is larger than payloads may be.
            Unreachable, TimedOut: its owner does not answer any more.
        """
        if isinstance(payload, bytes):
            return payload
        if not 0 <= payload.size_bytes <= most:
            raise PayloadTooLarge(f"a message of {payload.size_bytes} bytes is larger than {most}")
        if not may_own(sender, payload.owner):
            raise Unreachable(f"{sender} names {payload.owner} for the rest of a large message")
        whole = bytearray()
        while len(whole) < payload.size_bytes:
            part = await self._range(payload, len(whole), payload.size_bytes - len(whole))
            if not part:
                raise Unreachable("a large message is shorter than it was said to be")
            whole += part
        return bytes(whole)

    async def _range(self, payload: Bytes, offset: int, left: int) -> bytes:
        owner = Address(payload.owner)
        asked = encode(RangeRequest(payload.key, offset, min(left, self._range_bytes)))
        for _ in range(TRIES - 1):
            try:
                return await self._ask(owner, self.WHAT, asked, RANGE_S)
            except TimedOut:
                continue
        return await self._ask(owner, self.WHAT, asked, RANGE_S)
