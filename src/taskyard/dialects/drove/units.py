"""Numbers with a unit: durations such as ``5m``, and sizes of log files such as ``10m``."""

import re
from typing import Final

_PATTERN: Final = re.compile(r"([0-9]+)\s*(\S+)", re.ASCII)
_UNITS: Final = (
    ("nanosecond", 1e-9, ("ns", "nanosecond", "nanoseconds")),
    ("microsecond", 1e-6, ("us", "microsecond", "microseconds")),
    ("millisecond", 1e-3, ("ms", "millisecond", "milliseconds")),
    ("second", 1.0, ("s", "second", "seconds")),
    ("minute", 60.0, ("m", "min", "mins", "minute", "minutes")),
    ("hour", 3600.0, ("h", "hour", "hours")),
    ("day", 86_400.0, ("d", "day", "days")),
)
_BY_NAME: Final = {name: (unit, s) for unit, s, names in _UNITS for name in names}
_LARGEST: Final = (1 << 63) - 1
_SIZE: Final = re.compile(r"([0-9]{1,12})([bkmg]?)\Z", re.ASCII | re.IGNORECASE)
_SIZE_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MOST_BYTES: Final = 1 << 40


class Duration:
    """A length of time that remembers its unit."""

    __slots__ = ("count", "unit")

    def __init__(self, count: int, unit: str) -> None:
        self.count = count
        self.unit = unit
        """Long form, singular."""

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Read one. Raises ``ValueError``."""
        matched = _PATTERN.fullmatch(text)
        found = _BY_NAME.get(matched[2]) if matched else None
        # No number that large has more digits than this, and counting them is cheaper.
        if matched is None or found is None or len(matched[1]) > 19:
            raise ValueError(f"invalid duration: {text[:64]!r}")
        count = int(matched[1])
        if count > _LARGEST:
            raise ValueError(f"invalid duration: {text[:64]!r}")
        return cls(count, found[0])

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.count * _BY_NAME[self.unit][1]

    def __str__(self) -> str:
        """The normalised form."""
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"


def log_bytes(text: str) -> int | None:
    """How many bytes that is, 1 TiB at most; None for anything but a size."""
    matched = _SIZE.match(text.strip())
    if matched is None:
        return None
    size = int(matched[1]) * _SIZE_UNITS[matched[2].lower()]
    return min(size, _MOST_BYTES) if size > 0 else None
