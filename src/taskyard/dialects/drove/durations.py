"""Durations as the dialect writes them: ``5m``, ``100 seconds``; one number and one unit."""

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
