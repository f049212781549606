"""Signed claims as NATS exchanges them: JSON Web Tokens under its own keys.

Only those of auth callout: the server asks with one, and is answered with another one, which holds
that of a user. https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_callout
"""

import base64
import binascii
import hashlib
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from taskyard.core.access.redaction import RedactedStruct
from taskyard.transport.nats.nkeys import KeyPair, Kind, is_signed

MOST_BYTES: Final = 256 << 10
RESPONSE_S: Final = 300
"""Seconds in which a worker may answer what it was asked."""
MOST_SUBSCRIPTIONS: Final = 64
_ALGORITHM: Final = "ed25519-nkey"


class BadClaims(Exception):
    """This is not a request of a NATS server to let somebody in."""


class _Header(Struct, frozen=True):
    alg: str


class ServerId(Struct, frozen=True):
    """The server that asks."""

    id: str
    name: str = ""


class ClientInfo(Struct, frozen=True):
    """The connection that it asks about."""

    host: str = ""
    kind: str = ""


class ConnectOptions(RedactedStruct, frozen=True):
    """What the connection presented."""

    user: str = ""
    password: str = field(default="", name="pass")


class AuthorizationRequest(RedactedStruct, frozen=True):
    """Who wants in."""

    server_id: ServerId
    user_nkey: str
    """Names the connection in the answer."""
    type: str
    client_info: ClientInfo = ClientInfo()
    connect_opts: ConnectOptions = ConnectOptions()


class _RequestClaims(RedactedStruct, frozen=True):
    iss: str
    nats: AuthorizationRequest


class Permissions(Struct, frozen=True):
    """What a user may send to and listen to, as subjects with wildcards."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


_HEADERS: Final = msgspec.json.Decoder(_Header)
_REQUESTS: Final = msgspec.json.Decoder(_RequestClaims)


def read_request(token: bytes) -> AuthorizationRequest:
    """What a server asks. Raises :class:`BadClaims`, which quotes nothing of it."""
    if len(token) > MOST_BYTES:
        raise BadClaims("it is too large")
    try:
        signed, _, signature = token.rpartition(b".")
        header, _, body = signed.partition(b".")
        claims = _REQUESTS.decode(_decoded(body))
        algorithm = _HEADERS.decode(_decoded(header)).alg
        proof = _decoded(signature)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise BadClaims("it cannot be read") from None
    request = claims.nats
    if algorithm != _ALGORITHM or request.type != "authorization_request":
        raise BadClaims("it is of another kind")
    if claims.iss != request.server_id.id or not is_signed(Kind.SERVER, claims.iss, signed, proof):
        raise BadClaims("its signature is wrong")
    return request


def user_claims(
    issuer: KeyPair,
    request: AuthorizationRequest,
    *,
    account: str,
    name: str,
    permissions: Permissions,
    now_s: int,
    expires_s: int,
) -> str:
    """A user's claims: what a connection may do, and until when, in seconds since the epoch."""
    return _signed(
        issuer,
        {
            "iss": issuer.public,
            "sub": request.user_nkey,
            "aud": account,
            "name": name,
            "iat": now_s,
            "exp": expires_s,
            "nats": {
                "type": "user",
                "version": 2,
                "pub": {"allow": permissions.publish},
                "sub": {"allow": permissions.subscribe},
                "resp": {"max": 1, "ttl": RESPONSE_S * 10**9},
                "subs": MOST_SUBSCRIPTIONS,
                "data": -1,
                "payload": -1,
                "allowed_connection_types": ["STANDARD"],
            },
        },
    )


def admitting(issuer: KeyPair, request: AuthorizationRequest, user: str, now_s: int) -> str:
    """The answer that lets in a user with these claims."""
    return _answer(issuer, request, {"jwt": user}, now_s)


def refusing(issuer: KeyPair, request: AuthorizationRequest, reason: str, now_s: int) -> str:
    """The answer that lets nobody in; the reason goes to the log of the NATS server only."""
    return _answer(issuer, request, {"error": reason}, now_s)


def _answer(
    issuer: KeyPair, request: AuthorizationRequest, content: dict[str, str], now_s: int
) -> str:
    return _signed(
        issuer,
        {
            "iss": issuer.public,
            "sub": request.user_nkey,
            "aud": request.server_id.id,
            "iat": now_s,
            "nats": {"type": "authorization_response", "version": 2, **content},
        },
    )


def _signed(issuer: KeyPair, claims: dict[str, Any]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(claims)).digest()
    claims["jti"] = base64.b32encode(digest).decode("ascii").rstrip("=")
    header = msgspec.json.encode({"typ": "JWT", "alg": _ALGORITHM})
    signed = f"{_encoded(header)}.{_encoded(msgspec.json.encode(claims))}"
    return f"{signed}.{_encoded(issuer.sign(signed.encode('ascii')))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decoded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
