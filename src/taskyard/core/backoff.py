"""How often a task is tried, and how long it waits in between."""

from msgspec import Struct


class RetryPolicy(Struct, frozen=True, omit_defaults=True):
    """Exponential back-off with jitter: ``backoff_min_s * factor ** (n - 1)`` after attempt n."""

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
    never leaves ``[0, backoff_max_s]``, also for exponents that overflow.
    """
    try:
        delay = policy.backoff_min_s * policy.factor ** (failed_attempts - 1)
    except OverflowError:
        delay = policy.backoff_max_s
    delay = min(delay, policy.backoff_max_s)
    spread = 1.0 + policy.jitter * (2.0 * chance - 1.0)
    return max(0.0, min(delay * spread, policy.backoff_max_s))
