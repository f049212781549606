"""Who asks: fixed tokens, tokens given for an API key, and the engine's own."""

import hashlib
from typing import Final

from msgspec import Struct

from taskyard.core.access.principals import INSTALLATION, Caller, Credential, Role
from taskyard.core.errors import NotAuthenticated
from taskyard.core.instants import SECOND, Instant
from taskyard.dialects.greencloud.errors import Refusal, needs_login
from taskyard.dialects.greencloud.settings import MARGIN_S, Account, GreenCloudSettings
from taskyard.dialects.greencloud.tokens import Claims, Kind, signed, verified
from taskyard.dialects.http.dialect import DialectContext
from taskyard.services.access.login_throttle import SecretCheck
from taskyard.services.engine import Engine

TOKEN_LENGTH: Final = 4096
_ACTOR: Final = "greencloud"


class Given(Struct, frozen=True):
    """A token that was given for an API key."""

    token: str
    expires_in: int
    """Seconds it may safely be used."""


class Accounts:
    """Turns what requests present into callers."""

    def __init__(self, host: DialectContext, settings: GreenCloudSettings) -> None:
        self._host = host
        self._settings = settings
        self._check = SecretCheck(host.engine.access.limiter, host.engine.clock)
        # Looked up by digest, so that no comparison tells how much of a token was right.
        self._keys: dict[bytes, str] = {}
        self._tokens: dict[bytes, str] = {}
        for name, account in settings.accounts.items():
            if account.key is not None:
                self._keys[_digest(account.key)] = name
            for token in account.tokens:
                self._tokens[_digest(token)] = name

    async def caller(self, header: str | None, address: str | None) -> Caller:
        """The caller of an ``Authorization`` header.

        Raises ``Refusal`` (401), and ``Overloaded`` for guesses.
        """
        token = (header or "").strip()
        scheme, _, rest = token.partition(" ")
        if scheme.lower() == "bearer":
            token = rest.strip()
        if not token or len(token) > TOKEN_LENGTH:
            raise needs_login()
        name = self._tokens.get(_digest(token))
        if name is not None:
            self._check.judge(None, token, address, right=True)
            return self._as(name, address, None)
        claims = self._given(token)
        if claims is not None:
            # Signed, and so long that nobody guesses it.
            expires_at = Instant(claims.expires_s * SECOND)
            credential = Credential(f"{_ACTOR} {claims.name}", expires_at)
            return self._as(claims.name, address, credential)
        try:
            return await self._host.engine.access.authenticate_token(token, address)
        except NotAuthenticated as error:
            raise needs_login() from error

    async def exchange(self, key: str, address: str | None) -> Given:
        """A token for an API key. Raises ``Refusal`` (401), and ``Overloaded`` for guesses."""
        name = self._keys.get(_digest(key))
        right = self._check.judge("greencloud key", key, address, right=name is not None)
        if name is None or not right:
            await note_wrong_secret(self._host.engine, "key", address)
            raise Refusal(401, "INVALID_CREDENTIALS", "there is no such API key")
        lives_s = self._settings.token_s
        claims = Claims(Kind.KEY, name, self._now_s() + lives_s)
        token = signed(claims, self._settings.accounts[name])
        return Given(token, lives_s - MARGIN_S)

    def account_of(self, caller: Caller) -> Account | None:
        """The account that a caller came as; None for who presented a token of the engine's."""
        prefix, _, name = caller.actor.partition(" ")
        return self._settings.accounts.get(name) if prefix == _ACTOR else None

    def _as(self, name: str, address: str | None, credential: Credential | None) -> Caller:
        workspace = self._settings.accounts[name].workspace_of(name)
        return Caller(f"{_ACTOR} {name}", workspace, Role.WRITE, address, credential)

    def _given(self, token: str) -> Claims | None:
        """What a token says that gives access."""
        claims = verified(token, self._settings.accounts, self._now_s())
        return None if claims is None or claims.kind is Kind.REFRESH else claims

    def _now_s(self) -> int:
        return self._host.engine.clock.now() // SECOND


async def note_wrong_secret(engine: Engine, kind: str, address: str | None) -> None:
    """Have the audit trail of the installation tell of it; nobody knows whose it was to be."""
    stranger = Caller("anonymous", INSTALLATION, Role.READ, address)
    await engine.audit.refused(stranger, "greencloud.authenticate", detail=f"wrong {kind}")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
