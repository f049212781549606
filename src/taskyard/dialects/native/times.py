"""Times that are submitted, in RFC 3339."""

import re
from datetime import datetime
from typing import Final

from taskyard.core.errors import InvalidInput
from taskyard.core.instants import Instant, from_datetime

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)


def parse_time(field: str, text: str) -> Instant:
    """The instant of a time in RFC 3339. Raises :class:`InvalidInput` naming ``field``."""
    if not _RFC3339.match(text):
        raise InvalidInput(
            field, "is not an RFC 3339 time with a zone, such as 2026-12-01T08:00:00+01:00"
        )
    # A leap second is the last moment of its minute for everybody who counts without them.
    leap = text[17:19] == "60"
    try:
        moment = datetime.fromisoformat(f"{text[:17]}59{text[19:]}" if leap else text)
        return from_datetime(moment)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, f"is not a time: {error}") from error
