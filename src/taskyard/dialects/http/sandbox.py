"""Sandboxes answers in browsers: what tasks and functions wrote never acts as a page of ours.

The main listener is the dashboard's origin: whatever runs there has the credential of whoever is
signed in. So every answer but our own pages, which bring a policy, is sandboxed (no script, an
origin of its own, whatever the type: HTML, SVG, XML with a style sheet, PDF) and never taken for
another type than it names; and of a function's headers none is passed on that would hold for more
than its own answer. On a listener of its own a dialect is an origin of its own; what its functions
answer is free there.
"""

from collections.abc import Iterable
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.http.answers import with_headers

_POLICY: Final = b"content-security-policy"
_SANDBOX: Final = (_POLICY, b"sandbox")
_TYPE_OPTIONS: Final = b"x-content-type-options"
_NOSNIFF: Final = (_TYPE_OPTIONS, b"nosniff")
_DATA: Final = frozenset({b"application/json", b"application/problem+json", b"text/event-stream"})
"""What browsers never run, spelled exactly so; a list of types would mean its last one."""
_OF_THE_ORIGIN: Final = frozenset(
    {
        # State of the whole origin.
        *(b"set-cookie", b"set-cookie2", b"clear-site-data", b"service-worker-allowed"),
        # How browsers reach it from now on.
        *(b"strict-transport-security", b"public-key-pins", b"alt-svc", b"origin-agent-cluster"),
        *(b"report-to", b"reporting-endpoints", b"nel", b"accept-ch", b"critical-ch"),
        # What happens beside the answer.
        *(b"refresh", b"link", b"speculation-rules", b"sourcemap", b"x-sourcemap"),
        # A prompt in the name of this server.
        *(b"www-authenticate", b"authentication-info"),
        # Ours to decide.
        *(_POLICY, b"content-security-policy-report-only", _TYPE_OPTIONS),
    }
)
_READERS: Final = b"access-control-"
"""Which pages may read an answer is said by the dialect."""


def without_origin_headers(
    headers: Iterable[tuple[bytes, bytes]],
) -> list[tuple[bytes, bytes]]:
    """Headers of a function's answer, in lower case, that may be sent on a shared origin."""
    return [
        (name, value)
        for name, value in headers
        if name not in _OF_THE_ORIGIN and not name.startswith(_READERS)
    ]


def sandboxed(app: ASGIApp) -> ASGIApp:
    """The application, with answers that browsers do not run."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if "method" not in scope:  # a WebSocket
            return await app(scope, receive, send)

        return await app(scope, receive, with_headers(send, _with_sandbox))

    return serve


def _with_sandbox(found: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    has_policy = has_options = False
    types = []
    for name, value in found:
        if name == b"content-type":
            types.append(value)
        elif name == _POLICY:
            has_policy = True
        elif name == _TYPE_OPTIONS:
            has_options = True
    if not has_options:
        found.append(_NOSNIFF)
    if not has_policy and not (types and _DATA.issuperset(types)):
        found.append(_SANDBOX)
    return found
