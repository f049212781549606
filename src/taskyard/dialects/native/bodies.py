"""Which types of body are taken: what makes something run is JSON, and says so.

A browser sends the three types of forms anywhere without asking, along with a password that it
remembers. So they are taken only along with a credential that the sender has to know, a token, as
``curl -d`` does; and on the control socket.
"""

from typing import Final

from litestar.types import Scope

from taskyard.dialects.http.browsers import FORM_TYPES, is_remembered
from taskyard.dialects.http.requests import LOCAL_KEY, media_type
from taskyard.dialects.native.errors import Refusal

_JSON: Final = "application/json"


def check_json(scope: Scope) -> None:
    """Raise ``Refusal`` (415) for a body that does not say that it is JSON.

    A request without a body need not say a type, and with a token every type will do.
    """
    kind = _type_without_token(scope)
    if kind is None or kind == _JSON or kind.endswith("+json"):
        return
    raise _unsupported(f"a body has to be sent as {_JSON}", kind)


def check_no_form(scope: Scope) -> None:
    """Raise ``Refusal`` (415) for what a form of any page could send; with a token, for nothing."""
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


def _unsupported(wanted: str, kind: str) -> Refusal:
    given = f"this body is {kind}" if kind else "this body names no type"
    said = f"{wanted}, unless a token comes with it; {given}"
    return Refusal(415, "unsupported-media-type", said)
