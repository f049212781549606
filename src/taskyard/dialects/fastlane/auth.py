"""Who is calling. Callers need credentials, unless the operator allows anonymous ones.

The credentials are those of the settings. Where hosts are taken out of rotation, users and tokens
of the installation are let in as well; those of workspaces never are.
"""

import base64
import binascii
import hmac
from typing import Final

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import NotAuthenticated, TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.fastlane.dialect import Fastlane
from taskyard.dialects.fastlane.errors import answer_of, page_answer
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.dialect import CALLER_KEY
from taskyard.dialects.http.requests import LOCAL_KEY, address_of, header_of
from taskyard.dialects.http.sockets import refuse_upgrade
from taskyard.services.access.login_throttle import SecretCheck

HOSTS_PATH: Final = "/docker-executor/blacklist"

log = structlog.get_logger(__name__)


def authenticated(fastlane: Fastlane, app: ASGIApp) -> ASGIApp:
    """Let those through whom the settings name; others get 401, also on WebSocket handshakes."""
    settings = fastlane.settings
    anonymous = fastlane.context.dev if settings.anonymous is None else settings.anonymous
    is_open = anonymous and not settings.wants_credentials
    if not is_open and not settings.wants_credentials:
        log.warning(
            "fastlane_closed",
            reason="set fastlane.basic_auth_username and basic_auth_password, "
            "or fastlane.anonymous = true; until then every request is answered with 401",
        )
    realm = settings.basic_auth_realm.replace("\\", "").replace('"', "")
    challenge = f'Basic realm="{realm}"'.encode("latin-1", "replace")
    refusal = Answer(401, b"", ((b"www-authenticate", challenge),))
    authenticator = _Authenticator(fastlane, is_open=is_open)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["state"][CALLER_KEY] = await authenticator.caller(scope)
        except TaskyardError as error:
            is_unknown = isinstance(error, NotAuthenticated)
            answer = refusal if is_unknown else answer_of(error) or page_answer(500)
            if "method" not in scope:  # a WebSocket
                return await refuse_upgrade(scope, send, answer)
            return await answer(scope, receive, send)
        return await app(scope, receive, send)

    return serve


class _Authenticator:
    """Finds the caller of a request."""

    def __init__(self, fastlane: Fastlane, *, is_open: bool) -> None:
        self._engine = fastlane.context.engine
        self._settings = fastlane.settings
        self._is_open = is_open
        self._check = SecretCheck(self._engine.access.limiter, self._engine.clock)
        wanted = fastlane.settings.installation
        may = fastlane.context.dev if wanted is None else wanted
        self._installation = Role.OPERATE if may else None

    async def caller(self, scope: Scope) -> Caller:
        """Who this is. Raises ``NotAuthenticated``, and ``Overloaded`` for guesses."""
        address = address_of(scope)
        if LOCAL_KEY in scope["state"]:
            return self._own("fastlane anonymous", address, Role.ADMIN)
        header = header_of(scope, b"authorization")
        given = None if header is None else _decoded(header)
        is_hosts = scope["path"].rstrip("/") == HOSTS_PATH
        if header is not None and is_hosts and not self._fits(given):
            caller = await self._of_installation(header, address)
            if caller is not None:
                return caller
        if self._is_open:
            return self._own("fastlane anonymous", address, self._installation)
        if header is None or given is None:
            # Nothing was guessed: what cannot be read holds up nobody.
            raise NotAuthenticated
        if not self._check.judge("fastlane", header, address, right=self._fits(given)):
            stranger = Caller(
                "anonymous", WorkspaceName(self._settings.workspace), Role.READ, address
            )
            await self._engine.audit.refused(stranger, "fastlane.authenticate")
            raise NotAuthenticated
        return self._own("fastlane", address, self._installation)

    async def _of_installation(self, header: str, address: str | None) -> Caller | None:
        """Whose credential of the installation this is; None if it is none and none is needed."""
        access = self._engine.access
        try:
            caller = access.known(header, address) or await access.authenticate(header, address)
            if caller.installation is not None:
                return caller
        except NotAuthenticated:
            if not self._is_open:
                raise
        if not self._is_open:
            raise NotAuthenticated
        return None

    def _own(self, actor: str, address: str | None, installation: Role | None) -> Caller:
        workspace = WorkspaceName(self._settings.workspace)
        return Caller(actor, workspace, Role.OPERATE, address, None, installation)

    def _fits(self, given: bytes | None) -> bool:
        """Whether this is the user name and password, compared in constant time."""
        settings = self._settings
        if given is None or not settings.wants_credentials:
            return False
        wanted = f"{settings.basic_auth_username}:{settings.basic_auth_password}".encode()
        return hmac.compare_digest(given, wanted)


def _decoded(header: str) -> bytes | None:
    """User name and password of Basic credentials; None for what is none or cannot be read."""
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
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
