"""The ``Range`` header (RFC 9110, section 14) for one range of bytes."""

import re
from typing import Final

_RANGE: Final = re.compile(rb"(?i:bytes)\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*\Z")


class Unsatisfiable(Exception):
    """The range begins at or behind the end."""


def parse_range(header: bytes | None, size: int) -> tuple[int, int] | None:
    """First byte and length asked for, cut to what there is; None if the header asks for nothing.

    A header that is malformed, of another unit or of several ranges is ignored, as the standard
    allows. Raises :class:`Unsatisfiable` if nothing of the range is there.
    """
    match = _RANGE.match(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return size - length, length
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, min(last, size - 1) - first + 1
