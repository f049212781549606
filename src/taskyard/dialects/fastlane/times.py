"""Times as this dialect writes them."""

from taskyard.core.instants import Instant, to_datetime


def iso(instant: Instant | None) -> str | None:
    """ISO 8601 in UTC without a zone; the fraction is left out when it is zero."""
    return None if instant is None else to_datetime(instant).replace(tzinfo=None).isoformat()


def unix(instant: Instant) -> float:
    """Unix time in seconds with a fraction."""
    return instant / 1_000_000
