"""Whether a worker's runtime can be used now, and if not, why."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from taskyard.core.circuit_breaker import CircuitState
from taskyard.core.instants import Instant, seconds_between

REASON_LIMIT: Final = 300
"""Characters of a reason that are kept."""


class RuntimeStatus(Struct, frozen=True, omit_defaults=True):
    """What a worker says of one of its runtimes."""

    available: bool = True
    reason: str | None = None
    """Why it is not available, for people; at most ``REASON_LIMIT`` characters."""
    retry_at: Instant | None = None
    """When it is looked at again, if it is not available."""
    circuit: CircuitState = CircuitState.CLOSED
    """Of the runtime's engine; always closed for a runtime that has none."""


def bounded_reason(text: str) -> str:
    """An engine's answer as one line of at most ``REASON_LIMIT`` characters."""
    line = " ".join(text.split()) or "no reason given"
    return line if len(line) <= REASON_LIMIT else line[: REASON_LIMIT - 1] + "…"


def told(status: RuntimeStatus, now: Instant) -> str:
    """Why a runtime is not available and when that may change, as part of a sentence."""
    said = status.reason or "it is not available"
    if status.retry_at is not None:
        said += f", tried again in {max(0, round(seconds_between(now, status.retry_at)))} s"
    return said


def available(statuses: Mapping[str, RuntimeStatus]) -> tuple[str, ...]:
    """Tags of the runtimes that can be used, in order."""
    return tuple(sorted(tag for tag, status in statuses.items() if status.available))
