"""Who can be asked: a control plane, whoever leads, a worker, or any plane on a worker's behalf.

An address is the part of a subject between the installation and what a request is for.
"""

import re
from typing import Final, NewType

from taskyard.core.ids import PlaneId, WorkerId
from taskyard.ports.errors import TimedOut, Unreachable
from taskyard.ports.messages import LEADER

Address = NewType("Address", str)
"""Such as ``plane.3f2a``, ``leader``, ``worker.big-7`` or ``engine.big-7``."""

_LEADER: Final = Address("leader")
_OWNER: Final = re.compile(r"(plane|worker)\.[A-Za-z0-9_-]{1,64}")


def plane_address(plane_id: PlaneId) -> Address:
    """A control plane, or whoever leads."""
    return _LEADER if plane_id == LEADER else Address(f"plane.{plane_id}")


def worker_address(worker_id: WorkerId) -> Address:
    """A worker on another machine."""
    return Address(f"worker.{worker_id}")


def engine_address(worker_id: WorkerId) -> Address:
    """Any control plane, as this worker asks it; nobody else may use the address."""
    return Address(f"engine.{worker_id}")


def may_own(sender: Address, owner: str) -> bool:
    """Whether what ``owner`` keeps may be part of what came from ``sender``.

    A worker speaks for itself only, whatever it says: or it could have us fetch from another one.
    """
    if _OWNER.fullmatch(owner) is None:
        return False
    return owner == sender if sender.startswith("worker.") else owner.startswith("plane.")


def nobody(to: Address) -> Unreachable:
    """Nobody takes requests to this address."""
    kind, _, name = to.partition(".")
    if kind == "worker":
        return Unreachable(f"worker {name} cannot be reached at the moment")
    if kind == "plane":
        return Unreachable(f"control plane {name} cannot be reached at the moment")
    if kind == "engine":
        return Unreachable("no control plane can be reached at the moment")
    return Unreachable("no control plane leads at the moment")


def late(to: Address, what: str, timeout_s: float) -> TimedOut:
    """No answer came in time."""
    return TimedOut(f"{named(to)} did not answer {what!r} within {timeout_s:g} s")


def named(to: Address) -> str:
    """What people call it."""
    kind, _, name = to.partition(".")
    if kind == "leader":
        return "the leading control plane"
    return {"worker": f"worker {name}", "plane": f"control plane {name}"}.get(
        kind, "the control plane that was asked"
    )
