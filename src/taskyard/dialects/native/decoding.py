"""Decodes queries and bodies by the types that handlers name in ``call: Call[Query, Body]``.

They are decoded strictly and refused with a problem document; the OpenAPI document describes the
same types. Which types of body are taken: what makes something run is JSON, and says so. A browser
sends the three types of forms anywhere without asking, along with a password that it remembers. So
they are taken only along with a credential that the sender has to know, a token, as ``curl -d``
does; and on the control socket.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, get_args, get_type_hints

import msgspec
from litestar.types import Scope

from taskyard.dialects.http.browsers import FORM_TYPES, is_remembered
from taskyard.dialects.http.requests import LOCAL_KEY, media_type, query_pairs
from taskyard.dialects.native.errors import ProblemError, invalid_input, malformed, undecodable

Q = TypeVar("Q")
Pairs = dict[str, str | list[str]]
_JSON: Final = "application/json"


class RawBody(bytes):
    """Stands in an annotation for a body that is taken as it comes."""

    __slots__ = ()


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route without query parameters."""


def types_of(function: Callable[..., Any]) -> tuple[Any, Any, bool]:
    """Query type, body type and whether the body has to be there, from the annotation."""
    query, body = get_args(get_type_hints(function)["call"])
    if isinstance(body, UnionType):
        (body,) = [one for one in get_args(body) if one is not NoneType]
        return query, body, False
    return query, body, body is not NoneType


def decode_body(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """What a JSON body says. Raises ``ProblemError`` (400), ``InvalidInput``."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable(error, body, decoder.type) from error


def parameters_of(query_string: bytes) -> Pairs:
    """Parameters by name; a list for one given more than once. Raises ``TooManyParameters``."""
    found: Pairs = {}
    for name, value in query_pairs(query_string):
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


@lru_cache(maxsize=256)
def known_query(query_string: bytes, kind: type[Any]) -> Any:
    """Decoded query parameters; kinds of queries are frozen, so they can be shared."""
    return decode_query(parameters_of(query_string), kind)


@cache
def _repeatable(kind: Any) -> tuple[str, ...]:
    """Names of the parameters that may be given more than once."""
    info = msgspec.inspect.type_info(kind)
    names = []
    for one in info.fields if isinstance(info, msgspec.inspect.StructType) else ():
        type_ = one.type
        while isinstance(type_, msgspec.inspect.Metadata):
            type_ = type_.type
        if isinstance(type_, msgspec.inspect.ListType):
            names.append(one.encode_name)
    return tuple(names)


def decode_query(pairs: Pairs, kind: type[Q]) -> Q:
    """Query parameters by their declaration. Raises ``ProblemError`` (400) naming the wrong one."""
    for name in _repeatable(kind):  # type: ignore[arg-type]  # a class is hashable
        value = pairs.get(name)
        if isinstance(value, str):
            pairs[name] = [value]
    try:
        return msgspec.convert(pairs, kind, strict=False)
    except msgspec.ValidationError as error:
        wrong = invalid_input(str(error), kind)
        if wrong.field and isinstance(pairs.get(wrong.field), list):
            raise malformed("was given more than once", wrong.field) from error
        raise malformed(wrong.problem, wrong.field or None) from error


def check_json(scope: Scope) -> None:
    """Raise ``ProblemError`` (415) for a body that does not say that it is JSON.

    A request without a body need not say a type, and with a token every type will do.
    """
    kind = _type_without_token(scope)
    if kind is None or kind == _JSON or kind.endswith("+json"):
        return
    raise _unsupported(f"a body must be sent as {_JSON}", kind)


def check_no_form(scope: Scope) -> None:
    """Raise ``ProblemError`` (415) for what a form of any page could send; not with a token."""
    kind = _type_without_token(scope)
    if kind is not None and (not kind or kind in FORM_TYPES):
        raise _unsupported(f"send {_JSON}, or the type of the archive", kind)


def _type_without_token(scope: Scope) -> str | None:
    """Media type of the body, empty if it names none; None for no body, or one with a token."""
    content_type: bytes | None = None
    has_body = False
    if LOCAL_KEY in scope["state"]:
        return None
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"authorization":
            if not is_remembered(value):
                return None
        elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            has_body = True
    return media_type(content_type) if has_body else None


def _unsupported(wanted: str, kind: str) -> ProblemError:
    given = f"this body is {kind}" if kind else "this body names no type"
    said = f"{wanted}, unless a token comes with it; {given}"
    return ProblemError(415, "unsupported-media-type", said)
