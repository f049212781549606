"""Headers: which ones functions are given, which ones of their answers are passed on."""

import re
from collections.abc import Iterable
from typing import Final

from litestar.types import Scope

from taskyard.core.functions.invocations import CallHeaders

HEADERS: Final = CallHeaders(
    task="GC-Task-Id",
    function="GC-Function-Id",
    trigger="GC-Trigger-Id",
    schedule="GC-Schedule-Id",
    blob="GC-Storage",
)
"""What a function is told about its call, in its request."""
_PREFIX: Final = "gc-"
_HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
        *("trailer", "trailers", "transfer-encoding", "upgrade", "proxy-connection"),
    }
)
_NOT_FOR_FUNCTIONS: Final = _HOP_BY_HOP | {
    *("authorization", "cookie", "prefer", "host", "content-length", "expect"),
}
_NOT_OF_FUNCTIONS: Final = _HOP_BY_HOP | {"content-length", "date", "server"}
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def for_function(scope: Scope) -> tuple[tuple[str, str], ...]:
    """The headers of a request that its function sees."""
    pairs = [
        (name.decode("latin-1").lower(), value.decode("latin-1"))
        for name, value in scope["headers"]
    ]
    named = {
        one.strip().lower()
        for name, value in pairs
        if name == "connection"
        for one in value.split(",")
    }
    return tuple(
        (name, value)
        for name, value in pairs
        if name not in _NOT_FOR_FUNCTIONS and name not in named and not name.startswith(_PREFIX)
    )


def of_function(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """The headers of a function's answer that its caller sees."""
    return [
        (name.lower().encode("latin-1"), value.strip().encode("latin-1"))
        for name, value in headers
        if name.lower() not in _NOT_OF_FUNCTIONS
        and not name.lower().startswith(_PREFIX)
        and _NAME.match(name)
        and not _CONTROL.search(value)
    ]
