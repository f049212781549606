"""What browsers may send: the pages of others must not use a server that their visitors can reach.

A browser sends some requests to any server without asking, whatever page wants them: GET, and POST
with the three types of forms; with them the password it remembers, but no header of the page's
choice. Everything else it asks for first (a preflight), so that the dialect's own rules decide.
Every request goes through these steps; the first that applies decides:

1. the control socket: let through;
2. ``Host`` missing, repeated or malformed: 400; a name that the server does not answer to: 421;
3. a route for everybody, such as a function's public endpoint: let through;
4. ``OPTIONS``, and what no page of another origin asks for: let through. A page of another origin
   shows itself by ``Sec-Fetch-Site``, or by an ``Origin`` that is not the host asked for;
5. an origin that the operator allows (``allowed_origins``): let through;
6. under ``--dev``, whose credentials everybody knows: 403, except for a link that leads here;
7. GET and HEAD, which change nothing: let through; who may read the answer is the dialect's matter;
8. a credential that no browser adds by itself (a token in ``Authorization`` or in the query): let
   through;
9. what the dialect agreed to when the browser asked first: let through;
10. everything else, such as a form of another page, or its WebSocket: 403.

Which types of body a request may have is decided where it is decoded (``native/decoding.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.origins import (
    AllowedHosts,
    Authority,
    Origin,
    parse_authority,
    parse_origin,
)
from taskyard.dialects.http.requests import LOCAL_KEY, media_type
from taskyard.dialects.http.sockets import refuse_upgrade

FORM_TYPES: Final = frozenset(
    {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}
)
"""Types of bodies that pages may send anywhere without asking."""
_READING: Final = frozenset({"GET", "HEAD"})
_REMEMBERED: Final = frozenset({"basic", "digest", "negotiate", "ntlm"})
"""Schemes of credentials that browsers add by themselves."""
_LOGGED: Final = 100
_OF_PAGES: Final = frozenset({b"origin", b"sec-fetch-site"})
_ONE_HOST: Final = "a request names exactly one Host"
_TITLES: Final = {
    "malformed-body": "Malformed request",
    "wrong-host": "Wrong host",
    "foreign-origin": "Foreign origin",
}
_HEADERS: Final = (
    (b"content-type", b"application/problem+json"),
    (b"x-content-type-options", b"nosniff"),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BrowserRules:
    """What is particular about a dialect's dealings with browsers."""

    is_public: Callable[[str], bool] | None = None
    """Whether everybody may do what there is to do at a path."""
    token_in_query: bytes | None = None
    """Name of a query parameter that holds a credential."""
    asks_first: bool = False
    """Whether the dialect answers preflights, by which it says which pages may go on."""
    origins: frozenset[Origin] = frozenset()
    """Origins that its own settings name."""


class _Seen(NamedTuple):
    """What of a request tells who sent it; the first header of each name."""

    origin: bytes | None
    site: bytes | None
    authorization: bytes | None
    content_type: bytes | None
    mode: bytes | None
    destination: bytes | None


@dataclass(frozen=True, slots=True)
class BrowserGuard:
    """The rules of one server."""

    hosts: AllowedHosts
    origins: frozenset[Origin] = frozenset()
    """Origins that may use everything, with the credentials they have."""
    dev: bool = False
    _logged: set[str] = field(default_factory=set)

    def checked(self, app: ASGIApp, rules: BrowserRules) -> ASGIApp:
        """The application behind these rules; its paths are those without a prefix."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            refusal = self.refusal(scope, rules)
            if refusal is None:
                return await app(scope, receive, send)
            if "method" in scope:
                return await refusal(scope, receive, send)
            await receive()
            return await refuse_upgrade(scope, send, refusal)

        return serve

    def refusal(self, scope: Scope, rules: BrowserRules) -> Answer | None:
        """The answer to what is not let through; None for what is."""
        if LOCAL_KEY in scope["state"]:
            return None
        host: bytes | None = None
        of_page = False
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return _refused(400, "malformed-body", _ONE_HOST)
                host = value
            elif name in _OF_PAGES:
                of_page = True
        if host is None:
            # HTTP/1.0 knows no hosts, and browsers no HTTP/1.0.
            old = scope.get("http_version") == "1.0"
            return None if old else _refused(400, "malformed-body", _ONE_HOST)
        authority = self.hosts.known(host)
        if authority is None:
            return self._wrong_host(host)
        if not of_page or (rules.is_public is not None and rules.is_public(scope["path"])):
            return None
        return self._foreign_refusal(scope, rules, authority)

    def _foreign_refusal(
        self, scope: Scope, rules: BrowserRules, authority: Authority
    ) -> Answer | None:
        seen = _seen(scope)
        method = str(scope.get("method", ""))
        origin = None if seen.origin is None else parse_origin(seen.origin.decode("latin-1"))
        if method == "OPTIONS" or not self._is_foreign(seen, origin, authority):
            return None
        if origin is not None and (origin in self.origins or origin in rules.origins):
            return None
        if self.dev:
            is_link = seen.mode == b"navigate" and seen.destination == b"document"
            return None if method in _READING and is_link else self._foreign(seen)
        if method in _READING or _has_own_credential(scope, rules, seen):
            return None
        is_asked = method != "POST" or media_type(seen.content_type) not in {"", *FORM_TYPES}
        if rules.asks_first and method and is_asked:
            return None
        return self._foreign(seen)

    def _is_foreign(self, seen: _Seen, origin: Origin | None, authority: Authority) -> bool:
        if seen.site in {b"cross-site", b"same-site"}:
            return True
        if seen.origin is None or (origin is not None and origin.is_of(authority)):
            return False
        # Behind a proxy that renames the host only the browser knows that both are the same.
        return self.dev or seen.site not in {b"same-origin", b"none"}

    def _wrong_host(self, value: bytes) -> Answer:
        named = parse_authority(value.decode("latin-1"))
        if named is None:
            return _refused(400, "malformed-body", "the Host of the request is not valid")
        name = named.host
        self._log("host_refused", name, "allowed_hosts")
        said = f"this server does not answer to the name {name!r}; if it is its name, add it to "
        return _refused(421, "wrong-host", f"{said}the setting allowed_hosts")

    def _foreign(self, seen: _Seen) -> Answer:
        name = (seen.origin or b"another site").decode("latin-1")[:255]
        self._log("origin_refused", name, "allowed_origins")
        said = f"a page of {name} may not do this here; if the page is yours, add its origin to "
        return _refused(403, "foreign-origin", f"{said}the setting allowed_origins")

    def _log(self, event: str, name: str, setting: str) -> None:
        """Tell the operator, once for each name: pages of others try again and again."""
        if name not in self._logged and len(self._logged) < _LOGGED:
            self._logged.add(name)
            log.warning(event, name=name, setting=setting)


def _seen(scope: Scope) -> _Seen:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    names = (b"origin", b"sec-fetch-site", b"authorization", b"content-type")
    return _Seen(*map(found.get, (*names, b"sec-fetch-mode", b"sec-fetch-dest")))


def _has_own_credential(scope: Scope, rules: BrowserRules, seen: _Seen) -> bool:
    """Whether the page itself has to know what lets this request in."""
    if seen.authorization is not None:
        return not is_remembered(seen.authorization)
    wanted = rules.token_in_query
    if wanted is None:
        return False
    return any(one.partition(b"=")[0] == wanted for one in scope["query_string"].split(b"&"))


def is_remembered(authorization: bytes) -> bool:
    """Whether browsers add this ``Authorization`` by themselves."""
    scheme = authorization.strip().partition(b" ")[0]
    return scheme.decode("latin-1").lower() in _REMEMBERED


def _refused(status: int, kind: str, detail: str) -> Answer:
    document = {
        "type": f"about:blank#{kind}",
        "title": _TITLES[kind],
        "status": status,
        "detail": detail,
    }
    return Answer(status, msgspec.json.encode(document), _HEADERS)
