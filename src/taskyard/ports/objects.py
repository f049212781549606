"""The object port: immutable bytes under keys, for what is too large for rows of the store."""

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from taskyard.core.ids import AttemptId

Content = bytes | Iterable[bytes] | AsyncIterable[bytes]
"""All of an object, or its parts in order, of any length each."""

LARGEST_READ_BYTES: Final = 8 << 20
"""No single read answers with more."""
ABANDONED_S: Final = 3600.0
"""A put that has not stored anything for so long is over: what it left behind may go."""


OUTPUT: Final = "output/"
"""What the keys of attempts' output begin with. The object of ``stdout`` is put last, even if it is
empty: an attempt of which it is there is there as a whole."""
RESULTS: Final = "results/"
"""What the keys of large answers of functions begin with."""
BUNDLES: Final = "bundles/"
"""What the keys of functions' sources begin with."""


def output_key(attempt_id: AttemptId, name: str) -> str:
    """The key of a stream of an attempt, or of the index of their order."""
    return f"{OUTPUT}{attempt_id}/{name}"


class StoredObject(Struct, frozen=True):
    """What is known of an object besides its bytes."""

    key: str
    size_bytes: int
    age_s: float
    """Seconds since it was put, or put again; by the clock of the object store."""


class ObjectStore(Protocol):
    """Keeps objects until they are deleted. An object is there as a whole or not at all.

    Keys are ``a/b/c``: parts of letters, digits, dots, hyphens and underscores that begin with a
    letter or a digit, 128 characters each at most; 512 for a key. All methods raise
    ``InvalidInput`` for other keys, ``Unavailable`` if the object store cannot be reached.
    """

    async def put(self, key: str, content: Content) -> bool:
        """Keep an object; returns once it is durable: True if it is new.

        If there is one under this key already, that stays as it is, counts as put now, and the
        answer is False. However many put it at once, one is kept. If ``content`` raises, so does
        this, and nothing is kept. Never has more than a few MiB of it in memory.

        Raises ``StorageFull``.
        """
        ...

    async def size(self, key: str) -> int:
        """Bytes of an object. Raises ``NotFound``."""
        ...

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short only at the end, or past 8 MiB.

        Costs what the range costs, however large the object is. Empty at or past the end.
        Raises ``NotFound``, ``StoreDamaged``, ``InvalidInput`` below 0.
        """
        ...

    async def delete(self, keys: Sequence[str], *, older_than_s: float | None = None) -> None:
        """Remove these objects; unknown ones are ignored.

        With ``older_than_s``, only those that were not put, or put again, for so long: one that
        somebody puts at this moment is there when their put returns.
        """
        ...

    async def list_objects(
        self, prefix: str, *, after: str = "", limit: int = 1000
    ) -> list[StoredObject]:
        """Objects whose keys begin with ``prefix``, in order of their keys, behind ``after``."""
        ...

    async def sweep(self, older_than_s: float = ABANDONED_S) -> int:
        """Remove what unfinished puts have left that did nothing for so long; how many puts."""
        ...
