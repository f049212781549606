"""Slows down whoever guesses passwords."""

from typing import Final

from msgspec import Struct

from taskyard.core.errors import Overloaded
from taskyard.core.instants import Instant, after, seconds_between

FREE_TRIES: Final = 5
"""Wrong passwords for one user from one address before the first pause."""
FREE_TRIES_OF_ADDRESS: Final = 50
"""Wrong passwords from one address, whoever they were for, before the first pause."""
PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 300.0
FORGET_S: Final = 3600.0
"""Seconds without a try after which the count begins anew."""
REMEMBERED: Final = 10_000
"""Counts kept; past it the one that was touched longest ago is dropped."""


class _Count(Struct):
    tries: int
    last_at: Instant
    blocked_until: Instant


class GuessLimiter:
    """Counts tries by user and address and by address alone; pauses double with each one.

    A try is counted before it is judged, so that many at once do not slip through, and taken back
    when it turns out right.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str | None, str | None], _Count] = {}

    def enter(self, name: str, address: str | None, now: Instant) -> None:
        """Count a try. Raises ``Overloaded`` with the rest of a pause, and then does not count."""
        pair, alone = (name, address), (None, address)
        for key in (pair, alone):
            count = self._counts.get(key)
            if count is not None and now < count.blocked_until:
                raise Overloaded(
                    "too many wrong passwords; wait before the next try",
                    seconds_between(now, count.blocked_until),
                )
        self._add(pair, FREE_TRIES, now)
        self._add(alone, FREE_TRIES_OF_ADDRESS, now)

    def forgive(self, name: str, address: str | None) -> None:
        """The last try was right: all before it for this user from this address are forgotten."""
        self._counts.pop((name, address), None)
        self._take_back((None, address), FREE_TRIES_OF_ADDRESS)

    def undo(self, name: str, address: str | None) -> None:
        """The last try could not be judged: it is as if it had not been made."""
        self._take_back((name, address), FREE_TRIES)
        self._take_back((None, address), FREE_TRIES_OF_ADDRESS)

    def _take_back(self, key: tuple[str | None, str | None], free: int) -> None:
        count = self._counts.get(key)
        if count is None:
            return
        count.tries -= 1
        if count.tries < free:
            count.blocked_until = count.last_at

    def _add(self, key: tuple[str | None, str | None], free: int, now: Instant) -> None:
        count = self._counts.pop(key, None)
        if count is None or seconds_between(count.last_at, now) > FORGET_S:
            count = _Count(0, now, now)
        count.tries += 1
        count.last_at = now
        if count.tries >= free:
            pause = min(PAUSE_MIN_S * 2.0 ** min(count.tries - free, 30), PAUSE_MAX_S)
            count.blocked_until = after(now, pause)
        # Put back at the end: the first of the dictionary is the one not touched for longest.
        self._counts[key] = count
        while len(self._counts) > REMEMBERED:
            del self._counts[next(iter(self._counts))]
