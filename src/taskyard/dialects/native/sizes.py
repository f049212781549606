"""Sizes as people write them: integers of bytes, or text with a unit."""

import re
from decimal import Decimal
from typing import Final

from taskyard.core.errors import InvalidInput

_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kKMGTP]?)(i?)B?\Z")
_POWERS: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def size_bytes(field: str, value: int | str | None, low: int, high: int) -> int | None:
    """Bytes of a size between ``low`` and ``high``; powers of 1024 for the ``i`` units, else 1000.

    Raises :class:`InvalidInput` naming ``field``.
    """
    if value is None:
        return None
    if isinstance(value, str):
        match = _SIZE.match(value)
        if match is None or (match[3] and not match[2]):
            raise InvalidInput(field, f"{value!r} is not a valid size, such as 512MiB")
        base = 1024 if match[3] else 1000
        value = int(Decimal(match[1]) * base ** _POWERS[match[2]])
    if not low <= value <= high:
        raise InvalidInput(field, f"must be from {_shown(low)} to {_shown(high)}")
    return value


def _shown(size: int) -> str:
    """A limit in the largest unit that shows it whole."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power} {unit}"
    return f"{size} bytes"
