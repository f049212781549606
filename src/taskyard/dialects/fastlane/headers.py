"""Reading request headers."""

from litestar.types import Scope


def header_of(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for found, value in scope["headers"]:
        if found == name:
            return value.decode("latin-1")
    return None


def address_of_caller(scope: Scope) -> str | None:
    """Who asked: ``X-Real-IP``, else the first of ``X-Forwarded-For``, else the peer.

    Callers can write what they like into these headers, as with the original: for the record only.
    """
    real = header_of(scope, b"x-real-ip")
    if real:
        return _bounded(real)
    forwarded = header_of(scope, b"x-forwarded-for")
    if forwarded:
        return _bounded(forwarded.split(",")[0])
    client = scope["client"]
    return client[0] if client else None


def _bounded(text: str) -> str:
    return text.strip()[:100]
