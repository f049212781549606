"""Hashes passwords with argon2 and compares them, away from the event loop."""

from typing import Final

import anyio
import anyio.to_thread
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from taskyard.core.errors import InvalidInput, Overloaded

SHORTEST: Final = 8
LONGEST: Final = 256
THREADS: Final = 2
"""Hashings at one time: each is meant to cost a core and 64 MiB for some ten milliseconds."""
WAITING: Final = 64
"""Hashings that may wait for a thread; more are refused."""


def check_password(password: str, field: str = "password") -> None:
    """Raise ``InvalidInput`` unless it has 8 to 256 characters that can be encoded."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidInput(field, f"needs {SHORTEST} to {LONGEST} characters")
    try:
        password.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(field, "contains half a surrogate pair") from error


def check_hash(text: str, field: str) -> None:
    """Raise ``InvalidInput`` unless this is what hashing a password gives."""
    try:
        extract_parameters(text)
    except (InvalidHashError, ValueError) as error:
        raise InvalidInput(
            field, "is not a password hash; create one with 'taskyard user hash'"
        ) from error


class Passwords:
    """Hashing with a bounded number of threads."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """Prepare; ``hasher`` is for tests that cannot wait, argon2id with its defaults if None."""
        self._hasher = hasher or PasswordHasher()
        self._threads = anyio.CapacityLimiter(THREADS)
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to store. Raises ``Overloaded``."""
        self._admit()
        return await anyio.to_thread.run_sync(self._hasher.hash, password, limiter=self._threads)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one ``stored`` was made from. Raises ``Overloaded``.

        With None (no such user) it takes just as long and answers False, so that the time of an
        answer does not tell which users exist.
        """
        self._admit()
        return await anyio.to_thread.run_sync(self._verify, stored, password, limiter=self._threads)

    def _verify(self, stored: str | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = self._hasher.hash("nobody has this password")
        try:
            self._hasher.verify(stored or self._decoy, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def _admit(self) -> None:
        if self._threads.statistics().tasks_waiting >= WAITING:
            raise Overloaded("too many sign-ins at once", 1.0)
