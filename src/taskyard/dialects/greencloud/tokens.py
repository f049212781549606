"""Tokens that prove themselves: signed with a secret of their account, void with that secret."""

import hashlib
import hmac
from enum import StrEnum
from typing import Final

from msgspec import Struct

from taskyard.dialects.greencloud.settings import Account

_LONGEST: Final = 4096
_DIGITS: Final = 15


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
    said = f"{claims.kind}.{claims.name}.{claims.expires_s}.{claims.nonce}"
    return f"{said}.{_signature(secret, said)}"


def verified(token: str, accounts: dict[str, Account], now_s: int) -> Claims | None:
    """What a token says, if one of these accounts gave it out and it has not expired."""
    said, _, signature = token.rpartition(".")
    parts = said.split(".")
    if len(token) > _LONGEST or len(parts) != 4 or parts[0] not in set(Kind):
        return None
    kind, name, expires, nonce = parts
    account = accounts.get(name)
    secret = None if account is None else _secret_of(account, Kind(kind))
    if secret is None or not expires.isascii() or not expires.isdigit() or len(expires) > _DIGITS:
        return None
    wanted = _signature(secret, said).encode()
    if not hmac.compare_digest(wanted, signature.encode("utf-8", "replace")):
        return None
    return Claims(Kind(kind), name, int(expires), nonce) if now_s < int(expires) else None


def _secret_of(account: Account, kind: Kind) -> str | None:
    return account.key if kind is Kind.KEY else account.password_hash


def _signature(secret: str, said: str) -> str:
    key, message = (text.encode("utf-8", "surrogatepass") for text in (secret, said))
    return hmac.new(key, message, hashlib.sha256).hexdigest()
