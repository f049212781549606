"""Durations and sizes as scenarios write them."""

import re
from datetime import datetime
from typing import Any, Final

from taskyard.core.instants import SECOND

_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(us|ms|s|m|h|d|w)", re.ASCII)
_UNITS: Final = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(i?)b?", re.ASCII | re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
LONGEST_S: Final = 10 * 366 * 86400.0
"""No duration is longer: ten years."""
LARGEST_BYTES: Final = 1 << 46
"""No memory is larger: 64 TiB."""


class Seconds(float):
    """A duration."""

    __slots__ = ()

    @property
    def micros(self) -> int:
        """The same in whole microseconds."""
        return round(self * SECOND)


class Bytes(int):
    """A size."""

    __slots__ = ()


def seconds(value: Any) -> Seconds:
    """Of ``"30s"``, ``"1h30m"``, ``"500ms"``, or a number of seconds. Raises ``ValueError``."""
    if isinstance(value, str):
        compact = value.replace(" ", "").lower()
        parts = _DURATION.findall(compact)
        if not parts or "".join(number + unit for number, unit in parts) != compact:
            raise ValueError(f"{value!r} is not a duration, such as 30s, 5m, 1h30m or 500ms")
        found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    else:
        raise ValueError("needs a duration, such as 30s, 5m, 1h30m or 500ms")  # noqa: TRY004 - of the text
    if not 0 <= found <= LONGEST_S:
        raise ValueError("must be from 0 to ten years")
    return Seconds(found)


def size(value: Any) -> Bytes:
    """Of ``"512MiB"``, ``"2G"``, or a number of bytes. Raises ``ValueError``."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a size, such as 512MiB, 2GiB or a number of bytes")
        number, prefix, binary = match.groups()
        found = int(float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()])
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        raise ValueError("needs a size, such as 512MiB or 2GiB")  # noqa: TRY004 - as above
    if not 0 <= found <= LARGEST_BYTES:
        raise ValueError("must be from 0 to 64 TiB")
    return Bytes(found)


def moment(value: Any) -> datetime:
    """A point in time with a zone. Raises ``ValueError``."""
    problem = "needs a time with a zone, such as 2026-01-05T00:00:00Z"
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(problem) from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(problem)
    if not 1971 <= value.year <= 9000:
        raise ValueError("must be in the years 1971 to 9000")
    return value
