"""Cursors of pages: opaque, protected against typing errors, and valid without a time limit."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from taskyard.dialects.native.errors import malformed

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500
T = TypeVar("T")
A = TypeVar("A")
_CHECK: Final = 6
"""Bytes that tell a mistyped cursor. No secret: a position shows nothing a caller may not see."""


def make_cursor(kind: str, position: int | str) -> str:
    """A cursor for lists of this kind that continues behind a position."""
    payload = str(position).encode()
    return base64.urlsafe_b64encode(_check(kind, payload) + payload).rstrip(b"=").decode()


def page_of(
    kind: str,
    found: Sequence[T],
    limit: int,
    place: Callable[[T], int | str],
    answer: Callable[[T], A],
) -> tuple[list[A], str | None]:
    """The items of a page as they are answered, and the cursor of the next one, if there is one.

    Args:
        kind: of the list.
        found: one item more than the page takes, where there are more.
        limit: of the page.
        place: where an item is in the list.
        answer: makes the answer of an item.
    """
    cursor = make_cursor(kind, place(found[limit - 1])) if len(found) > limit else None
    return [answer(one) for one in found[:limit]], cursor


def read_cursor(kind: str, cursor: str) -> str:
    """The position in a cursor. Raises ``ProblemError`` (400) for one of another list."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        payload = raw[_CHECK:]
        text = payload.decode()
    except (binascii.Error, ValueError) as error:
        raise _wrong() from error
    if raw[:_CHECK] != _check(kind, payload) or make_cursor(kind, text) != cursor:
        raise _wrong()
    return text


def read_number(kind: str, cursor: str) -> int | None:
    """The number in a cursor, None for no cursor. Raises ``ProblemError`` (400)."""
    return int(read_cursor(kind, cursor)) if cursor else None


def read_text(kind: str, cursor: str) -> str | None:
    """The text in a cursor, None for no cursor. Raises ``ProblemError`` (400)."""
    return read_cursor(kind, cursor) if cursor else None


def _check(kind: str, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_CHECK, person=kind.encode()[:16]).digest()


def _wrong() -> Exception:
    return malformed("is not a cursor of this list", "cursor")
