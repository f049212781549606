"""Requests that offer another protocol: which one is a WebSocket, and how the others are ignored.

RFC 9110, 7.8: a server may ignore the offer, and then treats the request as any other. Java's
standard client offers ``h2c`` with every first request, with its body behind it. The parser takes
the connection for switched once it has seen such headers, and skips the body; so the head is given
to it again without the offer.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

_WEBSOCKET: Final = b"websocket"
_HOP_BY_HOP: Final = frozenset({b"upgrade", b"http2-settings"})

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


def is_websocket(method: bytes, http_version: str, headers: Headers) -> bool:
    """Whether a request whose ``Connection`` says ``upgrade`` begins a WebSocket (RFC 6455, 4.1).

    Names of headers are in lower case.
    """
    if method != b"GET" or http_version != "1.1":
        return False
    offered = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    return offered == [_WEBSOCKET]


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The head of this request with neither the offer nor what belongs to it."""
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode())]
    for name, value in headers:
        kept = value
        if name in _HOP_BY_HOP:
            continue
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            kept = b", ".join(one for one in options if one.lower() not in _HOP_BY_HOP)
        lines.append(b"%s: %s" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])
