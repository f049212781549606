"""Durations, sizes and moments, as people write and read them."""

import re
from datetime import UTC, datetime, timedelta

from taskyard.cli.errors import UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def seconds(text: str, flag: str) -> float:
    """Seconds of ``30s``, ``5m``, ``1h30m``, ``500ms`` or a bare number.

    Raises :class:`UsageError` naming ``flag`` for anything else.
    """
    compact = text.replace(" ", "").lower()
    try:
        bare = float(compact)
    except ValueError:
        parts = _DURATION.findall(compact)
        if not parts or "".join(number + unit for number, unit in parts) != compact:
            raise UsageError(
                f"{flag}: {text!r} is not a valid duration, such as 30s, 5m, 2h, 1d or 1h30m"
            ) from None
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= bare < float("inf"):
        raise UsageError(f"{flag}: {text!r} is not a valid duration, such as 30s, 5m or 2h")
    return bare


def size_bytes(text: str, flag: str) -> int:
    """Bytes of ``512MiB``, ``2G``, ``1000``: powers of 1024 with an ``i``, of 1000 without.

    Raises :class:`UsageError` naming ``flag`` for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{flag}: {text!r} is not a valid size, such as 512MiB, 2GiB or a number of bytes"
        )
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[prefix.lower()])


def moment(text: str, flag: str) -> str:
    """A time as RFC 3339 with a zone; one without a zone is meant in the local one.

    Raises :class:`UsageError` naming ``flag`` for anything else.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{flag}: {text!r} is not a valid time, such as 2026-12-01T08:00"
            " or 2026-12-01T08:00:00+01:00"
        ) from None
    return read.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_or_duration(text: str, flag: str) -> str:
    """A time, or a duration counted from now, as RFC 3339."""
    if text[:1].isdigit() and "-" in text:
        return moment(text, flag)
    return (datetime.now(UTC) + timedelta(seconds=seconds(text, flag))).isoformat()


def format_duration(duration_s: float) -> str:
    """A duration in one or two units: ``350 ms``, ``2.1 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if duration_s < 1:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    for unit_s, unit, part_s, part in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def format_moment(at: datetime | None, now: datetime | None = None) -> str:
    """How long ago a moment was, or how far ahead it is; empty for None."""
    if at is None:
        return ""
    distance_s = ((now or datetime.now(UTC)) - at).total_seconds()
    if abs(distance_s) < 2:
        return "now"
    words = _roughly(abs(distance_s))
    return f"{words} ago" if distance_s > 0 else f"in {words}"


def _roughly(distance_s: float) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if distance_s >= unit_s:
            return f"{distance_s / unit_s:.0f} {unit}"
    return f"{distance_s:.0f} s"


def format_size(size: float | None) -> str:
    """Bytes in the unit that suits: ``512 MiB``; empty for None."""
    if size is None:
        return ""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
