"""Reads what requests consist of: peer, headers, query and JSON."""

from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Scope

from taskyard.core.errors import TaskyardError

LOCAL_KEY: Final = "local_admin"
"""Set in a connection's state by a listener whose every caller owns the data directory."""
SLASH: Final = "\udc2f"
"""Stands for an encoded slash inside a path segment; no decoded text contains it."""
MAX_PARAMETERS: Final = 64


class TooManyParameters(TaskyardError):
    """The query or form has more parameters than are read."""

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"send at most {most} parameters")


class Undecodable(TaskyardError):
    """The body is not the JSON document that is expected."""


def address_of(scope: Scope) -> str | None:
    """Network address of the peer; None on a Unix socket."""
    client = scope["client"]
    return client[0] if client else None


def header_of(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    for found, value in scope["headers"]:
        if found == name:
            return value.decode("latin-1")
    return None


def media_type(content_type: bytes | None) -> str:
    """The media type without parameters, in lower case; empty if the header is missing."""
    return (content_type or b"").decode("latin-1").partition(";")[0].strip().lower()


def query_pairs(encoded: bytes, most: int = MAX_PARAMETERS) -> list[tuple[str, str]]:
    """The parameters of a query or form, in order. Raises ``TooManyParameters``."""
    if not encoded:
        return []
    try:
        return parse_qsl(encoded.decode("latin-1"), keep_blank_values=True, max_num_fields=most)
    except ValueError as error:
        raise TooManyParameters(most) from error


def first_values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; of several with one name, the first."""
    return dict(reversed(pairs))


def decode_json(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """What a body says. Raises ``Undecodable``, caused by what the decoder raised."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable(str(error) or "the body cannot be read") from error
