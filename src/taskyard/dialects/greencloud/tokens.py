"""Tokens that prove themselves: JSON Web Tokens signed with a key of their account (HS256).

The key comes from the API key, or from the stored password: a token is void once that changes.
The header says the account (``kid``) and the kind (``typ``), as both choose the key.
"""

import hashlib
from enum import StrEnum
from typing import Final

import jwt
from msgspec import Struct

from taskyard.dialects.greencloud.settings import Account

_LONGEST: Final = 4096
_ALGORITHM: Final = "HS256"
_REQUIRED: Final = ["sub", "exp", "jti"]


class Kind(StrEnum):
    """What a token was given for, and what it is good for."""

    KEY = "gc"
    """For an API key: access."""
    PASSWORD = "gp"  # noqa: S105 - the name of a kind
    """For a password: access."""
    REFRESH = "gr"
    """For a password: once, for new tokens."""


class Claims(Struct, frozen=True):
    """What a token says."""

    kind: Kind
    name: str
    """Of the account."""
    expires_s: int
    """Unix time."""
    nonce: str = ""
    """Tells it from all others, where that matters."""


def signed(claims: Claims, account: Account) -> str:
    """The token that says this. Raises ``ValueError`` if the account has no such secret."""
    secret = _secret_of(account, claims.kind)
    if secret is None:
        raise ValueError(f"the account {claims.name} gives out no tokens of this kind")
    payload = {"sub": claims.name, "exp": claims.expires_s, "jti": claims.nonce}
    header = {"kid": claims.name, "typ": claims.kind.value}
    return jwt.encode(payload, _key(secret), _ALGORITHM, header)


def verified(token: str, accounts: dict[str, Account], now_s: int) -> Claims | None:
    """What a token says, if one of these accounts gave it out and it has not expired."""
    if len(token) > _LONGEST:
        return None
    try:
        header = jwt.get_unverified_header(token)
        kind = Kind(header["typ"])
        secret = _secret_of(accounts[header["kid"]], kind)
        if secret is None:
            return None
        said = jwt.decode(
            token,
            _key(secret),
            [_ALGORITHM],
            {"require": _REQUIRED, "verify_exp": False},  # judged below, by the engine's clock
            subject=header["kid"],
        )
    except (jwt.InvalidTokenError, LookupError, TypeError, ValueError):
        return None
    expires_s, nonce = said["exp"], said["jti"]
    if not isinstance(expires_s, int) or now_s >= expires_s:
        return None
    return Claims(kind, said["sub"], expires_s, nonce)


def _secret_of(account: Account, kind: Kind) -> str | None:
    return account.key if kind is Kind.KEY else account.password_hash


def _key(secret: str) -> bytes:
    """As long as HMAC wants its keys, however short the secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
