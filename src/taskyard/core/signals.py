"""Signals by name and by number, the real-time ones included.

Names are those of ``signal(7)``; between the first and the last real-time signal they are
``SIGRTMIN+1``, ``SIGRTMIN+2`` and so on, as shells and container engines write them. Read are
``SIGRTMAX-n`` as well, and every name without its ``SIG``.
"""

import re
import signal
from typing import Final

_FIRST: Final = getattr(signal, "SIGRTMIN", 0)
_LAST: Final = getattr(signal, "SIGRTMAX", -1)
"""Numbers of the real-time signals; none on systems that have none, such as macOS."""
_REAL_TIME: Final = re.compile(r"SIGRT(MIN\+|MAX-)(\d{1,2})\Z", re.ASCII)


def signal_number(name: str) -> int | None:
    """The number of a signal; None if this system has none of that name."""
    if not name.startswith("SIG"):
        name = f"SIG{name}"
    known = signal.Signals.__members__.get(name)
    if known is not None:
        return int(known)
    match = _REAL_TIME.match(name)
    if match is None:
        return None
    distance = int(match[2])
    number = _FIRST + distance if match[1] == "MIN+" else _LAST - distance
    return number if _FIRST <= number <= _LAST else None


def signal_name(number: int) -> str:
    """The name of a signal; ``SIG`` and the number if it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        if _FIRST < number < _LAST:
            return f"SIGRTMIN+{number - _FIRST}"
        return f"SIG{number}"
