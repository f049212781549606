"""The two formats of times."""

from taskyard.core.instants import SECOND, Instant, to_datetime


def stamp(instant: Instant | None) -> str:
    """Unix seconds as text; empty while not known."""
    return "" if instant is None else str(instant // SECOND)


def rfc3339(instant: Instant) -> str:
    """UTC, whole seconds."""
    return to_datetime(instant).strftime("%Y-%m-%dT%H:%M:%SZ")
