"""Who asks: fixed tokens, tokens given for an API key, and the engine's own."""

import hashlib
import hmac
from typing import Final

from msgspec import Struct

from taskyard.core.access import Caller, Role
from taskyard.core.errors import NotAuthenticated
from taskyard.core.instants import SECOND
from taskyard.dialects.greencloud.errors import Refusal, needs_login
from taskyard.dialects.greencloud.settings import GreenCloudSettings
from taskyard.dialects.http.host import Host

MARGIN_S: Final = 10
"""Seconds that a token is said to live less than it does."""
TOKEN_LENGTH: Final = 4096
_PREFIX: Final = "gc"


class Given(Struct, frozen=True):
    """A token that was given for an API key."""

    token: str
    expires_in: int
    """Seconds it may safely be used."""


class Accounts:
    """Turns what requests present into callers."""

    def __init__(self, host: Host, settings: GreenCloudSettings) -> None:
        self._host = host
        self._settings = settings
        # Looked up by digest, so that no comparison tells how much of a token was right.
        self._keys: dict[bytes, str] = {}
        self._tokens: dict[bytes, str] = {}
        for name, account in settings.accounts.items():
            if account.key is not None:
                self._keys[_digest(account.key)] = name
            for token in account.tokens:
                self._tokens[_digest(token)] = name

    async def caller(self, header: str | None, address: str | None) -> Caller:
        """The caller of an ``Authorization`` header. Raises ``Refusal`` (401)."""
        token = (header or "").strip()
        scheme, _, rest = token.partition(" ")
        if scheme.lower() == "bearer":
            token = rest.strip()
        if not token or len(token) > TOKEN_LENGTH:
            raise needs_login()
        name = self._tokens.get(_digest(token)) or self._given_to(token)
        if name is not None:
            workspace = self._settings.accounts[name].workspace_of(name)
            return Caller(f"greencloud {name}", workspace, Role.WRITE, address)
        try:
            return await self._host.engine.access.authenticate_token(token, address)
        except NotAuthenticated as error:
            raise needs_login() from error

    def exchange(self, key: str) -> Given:
        """A token for an API key. Raises ``Refusal`` (401)."""
        name = self._keys.get(_digest(key))
        if name is None:
            raise Refusal(401, "INVALID_CREDENTIALS", "there is no such API key")
        lives_s = self._settings.token_s
        expires = self._host.engine.clock.now() // SECOND + lives_s
        token = f"{_PREFIX}.{name}.{expires}.{_signature(key, name, expires)}"
        return Given(token, lives_s - MARGIN_S)

    def _given_to(self, token: str) -> str | None:
        """The account that a token was given to, if it is one of ours and has not expired."""
        parts = token.split(".")
        if len(parts) != 4 or parts[0] != _PREFIX:
            return None
        _, name, expires, signature = parts
        account = self._settings.accounts.get(name)
        if account is None or account.key is None:
            return None
        if not expires.isascii() or not expires.isdigit() or len(expires) > 15:
            return None
        wanted = _signature(account.key, name, int(expires))
        if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
            return None
        now = self._host.engine.clock.now() // SECOND
        return name if now < int(expires) else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _signature(key: str, name: str, expires: int) -> str:
    """Proves that we gave this token; void once the key is another one."""
    said = f"{name}.{expires}".encode()
    return hmac.new(key.encode("utf-8", "surrogatepass"), said, hashlib.sha256).hexdigest()
