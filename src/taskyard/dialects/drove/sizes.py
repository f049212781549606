"""Sizes of log files as container engines write them: ``10m``, ``1g``."""

import re
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,12})([bkmg]?)\Z", re.ASCII | re.IGNORECASE)
_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MOST: Final = 1 << 40


def log_bytes(text: str) -> int | None:
    """How many bytes that is, 1 TiB at most; None for what is no size."""
    matched = _SIZE.match(text.strip())
    if matched is None:
        return None
    size = int(matched[1]) * _UNITS[matched[2].lower()]
    return min(size, _MOST) if size > 0 else None
