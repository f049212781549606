"""Back-off: how long to wait before what failed is tried again. The only place that computes it.

A delay grows by a factor with each failure, from a first one up to a longest one: durable retries
compute it from a count of failures (:func:`delay_s`), loops carry it along (:class:`Backoff`).
"""

from msgspec import Struct


def delay_s(first_s: float, longest_s: float, failures: int, factor: float = 2.0) -> float:
    """Seconds to wait after the ``failures``-th failure in a row (from 1).

    ``first_s * factor ** (failures - 1)``, never outside ``[0, longest_s]``, also for exponents
    that overflow.
    """
    try:
        delay = first_s * factor ** (failures - 1)
    except OverflowError:
        return longest_s
    return max(0.0, min(delay, longest_s))


class Backoff:
    """The delays of one loop: each twice the one before, up to a longest, until :meth:`reset`."""

    __slots__ = ("_first_s", "_longest_s", "next_s")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.next_s = first_s
        """Seconds that :meth:`delay_s` answers with next."""

    def delay_s(self) -> float:
        """Seconds to wait now; the next delay is longer."""
        delay, self.next_s = self.next_s, min(self.next_s * 2.0, self._longest_s)
        return delay

    def reset(self) -> None:
        """It worked: the next delay is the first one again."""
        self.next_s = self._first_s


class RetryPolicy(Struct, frozen=True, omit_defaults=True):
    """How often a task is tried, and how long it waits in between, with jitter.

    ``backoff_min_s * factor ** (n - 1)`` seconds after attempt n.
    """

    max_attempts: int = 1
    """Attempts in all, the first included; 1 means no retry."""
    backoff_min_s: float = 1.0
    backoff_max_s: float = 3600.0
    factor: float = 2.0
    jitter: float = 0.1
    """Largest share by which a delay is lengthened or shortened; 0 to 1."""


def backoff_s(policy: RetryPolicy, failed_attempts: int, chance: float) -> float:
    """Seconds to wait after the ``failed_attempts``-th failure (from 1).

    ``chance`` between 0 and 1 places the delay inside its jitter; 0.5 is its middle. The delay
    never leaves ``[0, backoff_max_s]``.
    """
    delay = delay_s(policy.backoff_min_s, policy.backoff_max_s, failed_attempts, policy.factor)
    spread = 1.0 + policy.jitter * (2.0 * chance - 1.0)
    return max(0.0, min(delay * spread, policy.backoff_max_s))
