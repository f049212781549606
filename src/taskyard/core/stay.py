"""How long a worker stays, and what it takes on for the rest of that time."""

from msgspec import Struct


class Stay(Struct, frozen=True):
    """When a worker is to leave of itself; by default it never does."""

    lifetime_s: float | None = None
    """Seconds after its start from which on it takes nothing; no limit when None."""
    idle_exit_s: float | None = None
    """Seconds without anything to run after which it leaves; never when None."""
    once: bool = False
    """Whether it leaves after the first attempt."""

    def left_s(self, age_s: float) -> float | None:
        """Seconds that it still stays at this age; None if there is no limit."""
        return None if self.lifetime_s is None else max(0.0, self.lifetime_s - age_s)

    def why_not_taken(self, timeout_s: float | None, age_s: float, taken: int) -> str | None:
        """Why it takes no attempt that may run so long, with so many taken before; None if it does.

        What has no timeout is taken until the lifetime is over: the drain limits it.
        """
        if self.once and taken:
            return "its worker takes one attempt only"
        left_s = self.left_s(age_s)
        return None if left_s is None else why_too_short(left_s, timeout_s)

    def why_leaving(self, age_s: float, idle_s: float | None, taken: int) -> str | None:
        """Why a worker leaves that is idle for so long, None if it is not; None if it stays."""
        if self.left_s(age_s) == 0:
            return "its lifetime is over"
        if idle_s is None:
            return None
        if self.once and taken:
            return "it has had its attempt"
        if self.idle_exit_s is not None and idle_s >= self.idle_exit_s:
            return f"it had nothing to run for {self.idle_exit_s:g} s"
        return None


def why_too_short(left_s: float, timeout_s: float | None) -> str | None:
    """Why the rest of a worker's stay is too short for a task; None if it is not."""
    if left_s <= 0:
        return "its worker is about to leave"
    if timeout_s is None or timeout_s <= left_s:
        return None
    return f"it may run for {timeout_s:g} s, and its worker leaves in {left_s:.0f} s"
