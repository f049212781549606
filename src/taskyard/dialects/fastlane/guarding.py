"""Who may come in: nobody without credentials, unless the operator said so."""

import base64
import binascii
import hmac

import structlog
from litestar.types import ASGIApp, Receive, Scope, Send

from taskyard.core.access import Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.fastlane.dialect import CALLER_KEY, Fastlane
from taskyard.dialects.fastlane.headers import header_of
from taskyard.dialects.http.answers import Answer
from taskyard.dialects.http.peers import LOCAL_KEY, address_of
from taskyard.dialects.http.refusing import refuse_upgrade

log = structlog.get_logger(__name__)


def guarded(fastlane: Fastlane, app: ASGIApp) -> ASGIApp:
    """Let those through whom the settings name; others get 401, also on WebSocket handshakes."""
    settings = fastlane.settings
    anonymous = fastlane.host.dev if settings.anonymous is None else settings.anonymous
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
    workspace = WorkspaceName(settings.workspace)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        local = LOCAL_KEY in scope["state"]
        if not (local or is_open or _fits(fastlane, header_of(scope, b"authorization"))):
            if "method" not in scope:  # a WebSocket
                return await refuse_upgrade(scope, send, refusal)
            return await refusal(scope, receive, send)
        actor = "fastlane" if settings.wants_credentials and not local else "fastlane anonymous"
        caller = Caller(actor, workspace, Role.OPERATE, address_of(scope))
        scope["state"][CALLER_KEY] = caller
        return await app(scope, receive, send)

    return serve


def _fits(fastlane: Fastlane, header: str | None) -> bool:
    """Whether this is the user name and password, compared in constant time."""
    settings = fastlane.settings
    if header is None or not settings.wants_credentials:
        return False
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        given = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    wanted = f"{settings.basic_auth_username}:{settings.basic_auth_password}".encode()
    return hmac.compare_digest(given, wanted)
