"""Login throttle: slows down guessing of passwords, keys and tokens."""

import hashlib
import ipaddress
from typing import Final

from msgspec import Struct

from taskyard.core.backoff import delay_s
from taskyard.core.errors import Overloaded
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.ports.clock import Clock

FREE_TRIES: Final = 5
"""Wrong secrets for one name from one source before the first pause."""
FREE_TRIES_OF_SHARED: Final = 20
"""The same for a secret that many have in common, so that one wrong client holds up nobody soon."""
FREE_TRIES_OF_ADDRESS: Final = 50
"""Wrong secrets from one source, whatever names they were for, before the first pause."""
FREE_TOKENS_OF_ADDRESS: Final = 200
"""Wrong tokens from one source before the first pause. Tokens are long, and pages and programs that
go on with an old one are common; so these are counted apart."""
TRY_BACK_S: Final = 60.0
"""Seconds after which a source has one try more, so that a client that goes on with an old password
does not hold up everybody at its address in the end."""
PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 300.0
FORGET_S: Final = 3600.0
"""Seconds without a try after which the count begins again."""
REMEMBERED: Final = 10_000
"""Counts kept; past it the one that was touched longest ago is dropped."""
NAME_LENGTH: Final = 256
"""Characters of a name that are looked at."""
ADDRESS_LENGTH: Final = 64
_IPV6_PREFIX: Final = 64


def source_of(address: str | None) -> str | None:
    """Whom tries from an address are counted for.

    The network of an IPv6 address (/64), since one customer has all of it; IPv4-mapped ones are
    those of IPv4.
    """
    if address is None or ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address[:ADDRESS_LENGTH]
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _IPV6_PREFIX), strict=False))


class _Count(Struct):
    free: int
    tries: int
    last_at: Instant
    blocked_until: Instant


_Key = tuple[str | None, str | None]
_NAMES: Final = "names"
_TOKENS: Final = "tokens"
"""What a source alone is counted for; names of users are led by a space."""


class LoginThrottle:
    """Counts tries by name and source and by source alone; pauses double with each one.

    A try is counted before it is judged, so that many at once do not slip through, and taken back
    when it turns out right. Sources are those of :func:`source_of`. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._counts: dict[_Key, _Count] = {}

    def enter(
        self, name: str | None, address: str | None, now: Instant, free: int | None = None
    ) -> None:
        """Count a try; the first ``free`` wrong ones for the name cost nothing,
        :data:`FREE_TRIES` when None.

        Raises ``Overloaded`` with the rest of a pause, and then does not count.

        ``name`` is that of a user, a token or an account; None is for tokens that name nobody,
        which count for the source alone.
        """
        pair, alone = _keys(name, address)
        if (pause_s := self._pause_s(pair, alone, now)) > 0:
            raise Overloaded("too many wrong credentials; wait before the next try", pause_s)
        if name is not None:
            self._add(pair, FREE_TRIES if free is None else free, now)
        self._add(alone, _free(alone), now)

    def is_paused(self, name: str | None, address: str | None, now: Instant) -> bool:
        """Whether a try would be refused now."""
        return bool(self._counts) and self._pause_s(*_keys(name, address), now) > 0

    def forgive(self, name: str | None, address: str | None) -> None:
        """The last try was right: all before it for this name from there are forgotten."""
        pair, alone = _keys(name, address)
        if name is not None:
            self._counts.pop(pair, None)
        self._take_back(alone)

    def undo(self, name: str | None, address: str | None) -> None:
        """The last try could not be judged: it is as if it had not been made."""
        pair, alone = _keys(name, address)
        if name is not None:
            self._take_back(pair)
        self._take_back(alone)

    def _pause_s(self, pair: _Key, alone: _Key, now: Instant) -> float:
        for key in (pair, alone):
            count = self._counts.get(key)
            if count is not None and now < count.blocked_until:
                # No pause is longer: then the clock was set back.
                return min(seconds_between(now, count.blocked_until), PAUSE_MAX_S)
        return 0.0

    def _take_back(self, key: _Key) -> None:
        count = self._counts.get(key)
        if count is None:
            return
        count.tries -= 1
        if count.tries < count.free:
            count.blocked_until = count.last_at

    def _add(self, key: _Key, free: int, now: Instant) -> None:
        count = self._counts.pop(key, None)
        if count is None or seconds_between(count.last_at, now) > FORGET_S:
            count = _Count(free, 0, now, now)
        elif key[0] in {_NAMES, _TOKENS}:
            passed = int(seconds_between(count.last_at, now) // TRY_BACK_S)
            count.tries = max(0, count.tries - passed)
        count.tries += 1
        count.last_at = now
        if count.tries >= free:
            pause = delay_s(PAUSE_MIN_S, PAUSE_MAX_S, count.tries - free + 1)
            count.blocked_until = after(now, pause)
        # Put back at the end: the first of the dictionary is the one not touched for longest.
        self._counts[key] = count
        while len(self._counts) > REMEMBERED:
            del self._counts[next(iter(self._counts))]


def _keys(name: str | None, address: str | None) -> tuple[_Key, _Key]:
    source = source_of(address)
    alone = (_TOKENS if name is None else _NAMES, source)
    return (name and f" {name[:NAME_LENGTH]}", source), alone


def _free(alone: _Key) -> int:
    return FREE_TOKENS_OF_ADDRESS if alone[0] == _TOKENS else FREE_TRIES_OF_ADDRESS


class SecretCheck:
    """Slows down guesses at secrets that are known in full, such as those of the settings.

    A right one that was right from the same address before passes at once.
    """

    def __init__(self, limiter: LoginThrottle, clock: Clock) -> None:
        self._limiter = limiter
        self._clock = clock
        self._right: dict[tuple[str | None, bytes], None] = {}

    def judge(self, name: str | None, secret: str, address: str | None, *, right: bool) -> bool:
        """Whether ``secret`` is accepted; ``right`` says whether it is the right one.

        Raises ``Overloaded`` during a pause, right or not: the answer must not tell which.
        """
        if right and self.is_known(secret, address):
            return True
        self._limiter.enter(name, address, self._clock.now(), FREE_TRIES_OF_SHARED)
        if right:
            self._limiter.forgive(name, address)
            while len(self._right) >= REMEMBERED:
                del self._right[next(iter(self._right))]
            self._right[self._key(secret, address)] = None
        return right

    def is_known(self, secret: str, address: str | None) -> bool:
        """Whether this was right from this address before."""
        return self._key(secret, address) in self._right

    @staticmethod
    def _key(secret: str, address: str | None) -> tuple[str | None, bytes]:
        return address, hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
