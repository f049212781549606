"""The errors about answers that do not come, worded alike by every transport."""

from taskyard.core.ids import PlaneId
from taskyard.ports.errors import TimedOut, Unreachable
from taskyard.ports.messages import LEADER


def nobody(to: PlaneId) -> Unreachable:
    """Nobody takes requests to this plane."""
    if to == LEADER:
        return Unreachable("no control plane leads at the moment")
    return Unreachable(f"control plane {to} cannot be reached at the moment")


def late(to: PlaneId, what: str, timeout_s: float) -> TimedOut:
    """No answer came in time."""
    name = "the leading control plane" if to == LEADER else f"control plane {to}"
    return TimedOut(f"{name} did not answer {what!r} within {timeout_s:g} s")
