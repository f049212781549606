"""What keys of objects look like."""

import re
from typing import Final

from taskyard.core.errors import InvalidInput

KEY_MOST: Final = 512
_PART: Final = "[0-9A-Za-z][0-9A-Za-z._-]{0,127}"
_KEY: Final = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_PREFIX: Final = re.compile(r"[0-9A-Za-z._/-]*\Z")


def check_key(key: str) -> None:
    """Raise ``InvalidInput`` unless this can be the key of an object."""
    if len(key) > KEY_MOST or not _KEY.match(key):
        raise InvalidInput(
            "key",
            "must be made of letters, digits, '.', '-' and '_', in parts separated by '/' that "
            f"begin with a letter or a digit, and have at most {KEY_MOST} characters",
        )


def check_prefix(field: str, text: str) -> None:
    """Raise ``InvalidInput`` naming ``field`` unless keys can begin like this."""
    if len(text) > KEY_MOST or not _PREFIX.match(text):
        raise InvalidInput(field, "contains characters that no key of an object contains")


def check_range(offset: int, length: int) -> None:
    """Raise ``InvalidInput`` for a negative offset or length."""
    if offset < 0:
        raise InvalidInput("offset", "must be at least 0")
    if length < 0:
        raise InvalidInput("length", "must be at least 0")
