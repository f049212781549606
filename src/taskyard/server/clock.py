"""The system's clock and random source."""

import os
import time
from typing import Final

import anyio

from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, TaskId
from taskyard.core.instants import Instant

_POOL_BYTES: Final = 4096
_ID_DIGITS: Final = 19
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""A random digit as one whose upper two bits are 10."""


class SystemClock:
    """Wall time of the machine; implements ``ports.clock.Clock``."""

    def now(self) -> Instant:
        """The present instant."""
        return Instant(time.time_ns() // 1000)

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds (at once when not positive)."""
        await anyio.sleep(max(0.0, seconds))


class SystemIds:
    """Identifiers from the operating system's randomness; implements ``ports.clock.Ids``.

    Random bytes are drawn in bulk: a system call for each id would cost more than the id. A process
    that forks must not go on using it in both halves.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0
        self._hex = ""
        self._hex_at = 0
        self._milliseconds = -1
        self._front = ""

    def task(self) -> TaskId:
        """A new UUID version 7."""
        return TaskId(self._uuid7())

    def attempt(self) -> AttemptId:
        """A new UUID version 7."""
        return AttemptId(self._uuid7())

    def incarnation(self) -> IncarnationId:
        """A new random id."""
        return IncarnationId(self._bytes(16).hex())

    def lease(self) -> LeaseToken:
        """A new unguessable token."""
        return LeaseToken(self._bytes(16).hex())

    def chance(self) -> float:
        """A number drawn evenly from 0 up to, not including, 1."""
        return (int.from_bytes(self._bytes(8), "big") >> 11) / (1 << 53)

    def _uuid7(self) -> str:
        """RFC 9562, section 5.7: 48 bits of milliseconds, then version, variant, 74 random bits."""
        milliseconds = time.time_ns() // 1_000_000
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            text = f"{milliseconds:012x}"
            self._front = f"{text[:8]}-{text[8:]}-7"
        at = self._hex_at
        if at + _ID_DIGITS > len(self._hex):
            self._hex, at = os.urandom(_POOL_BYTES).hex(), 0
        self._hex_at = at + _ID_DIGITS
        drawn = self._hex
        return (
            f"{self._front}{drawn[at : at + 3]}-{_VARIANT[drawn[at + 3]]}"
            f"{drawn[at + 4 : at + 7]}-{drawn[at + 7 : at + 19]}"
        )

    def _bytes(self, count: int) -> bytes:
        if self._at + count > len(self._pool):
            self._pool, self._at = os.urandom(_POOL_BYTES), 0
        start, self._at = self._at, self._at + count
        return self._pool[start : self._at]
