"""Who is calling: fixed tokens, tokens given for an API key, and the engine's own.

Tokens are also given for an address and a password, with a refresh token for the next ones.
"""

import hashlib
import secrets
from typing import Final

from msgspec import Struct

from taskyard.core.access.principals import INSTALLATION, Caller, Credential, Role
from taskyard.core.errors import NotAuthenticated
from taskyard.core.instants import SECOND, Instant
from taskyard.dialects.greencloud.errors import needs_login, refused
from taskyard.dialects.greencloud.settings import MARGIN_S, Account, GreenCloudSettings
from taskyard.dialects.greencloud.tokens import Claims, Kind, signed, verified
from taskyard.dialects.http.dialect import DialectContext
from taskyard.services.access.login_throttle import SecretCheck
from taskyard.services.access.passwords import LONGEST, Passwords
from taskyard.services.engine import Engine

TOKEN_LENGTH: Final = 4096
REFRESH_S: Final = 90 * 86_400
_ACTOR: Final = "greencloud"


class Given(Struct, frozen=True):
    """A token that was given for an API key."""

    token: str
    expires_in: int
    """Seconds it may safely be used."""


class Accounts:
    """Turns what requests present into callers."""

    def __init__(self, context: DialectContext, settings: GreenCloudSettings) -> None:
        self._context = context
        self._settings = settings
        self._check = SecretCheck(context.engine.access.limiter, context.engine.clock)
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

        Raises ``Refused`` (401), and ``Overloaded`` for guesses.
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
            return await self._context.engine.access.authenticate_token(token, address)
        except NotAuthenticated as error:
            raise needs_login() from error

    async def exchange(self, key: str, address: str | None) -> Given:
        """A token for an API key. Raises ``Refused`` (401), and ``Overloaded`` for guesses."""
        name = self._keys.get(_digest(key))
        right = self._check.judge("greencloud key", key, address, right=name is not None)
        if name is None or not right:
            await note_wrong_secret(self._context.engine, "key", address)
            raise refused(401, "INVALID_CREDENTIALS", "there is no such API key")
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
        return self._context.engine.clock.now() // SECOND


async def note_wrong_secret(engine: Engine, kind: str, address: str | None) -> None:
    """Record a wrong secret in the audit trail of the installation; its workspace is unknown."""
    stranger = Caller("anonymous", INSTALLATION, Role.READ, address)
    await engine.audit.refused(stranger, "greencloud.authenticate", detail=f"wrong {kind}")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class SignedIn(Struct, frozen=True):
    """Tokens for a successful sign-in."""

    token: str
    expires_in: int
    """Seconds the token may safely be used."""
    refresh_token: str
    """Good for one exchange, within 90 days."""


class SignIn:
    """Judges passwords and refresh tokens."""

    def __init__(self, context: DialectContext, settings: GreenCloudSettings) -> None:
        self._context = context
        self._settings = settings
        self._passwords = Passwords()
        self._limiter = context.engine.access.limiter
        self._names = {
            account.email.lower(): name
            for name, account in settings.accounts.items()
            if account.email and account.password_hash is not None
        }

    async def log_in(self, email: str, password: str, address: str | None) -> SignedIn:
        """Tokens for a password. Raises ``Refused`` (401), ``Overloaded`` for who guesses."""
        email = email.lower()
        name = self._names.get(email)
        stored = None if name is None else self._settings.accounts[name].password_hash
        guessed = f"greencloud {email}"
        self._limiter.enter(guessed, address, self._context.engine.clock.now())
        judged = False
        try:
            right = len(password) <= LONGEST and await self._passwords.verify(stored, password)
            judged = True
        finally:
            if not judged:  # too much to do, or whoever asked went away
                self._limiter.undo(guessed, address)
        if not right or name is None:
            await note_wrong_secret(self._context.engine, "password", address)
            raise refused(401, "INVALID_CREDENTIALS", "the address or the password is wrong")
        self._limiter.forgive(guessed, address)
        return self._given(name)

    async def refresh(self, token: str, address: str | None) -> SignedIn:
        """New tokens for a refresh token, which is used up.

        Raises ``Refused`` (401), and ``Overloaded`` for guesses.
        """
        engine = self._context.engine
        claims = verified(token, self._settings.accounts, self._now_s())
        if claims is None or claims.kind is not Kind.REFRESH:
            self._limiter.enter(None, address, engine.clock.now())
            await note_wrong_secret(engine, "refresh token", address)
            raise needs_login("this refresh token is not valid, or has expired")
        until = Instant(claims.expires_s * SECOND)
        if not await engine.invocations.use_once(f"refresh:{claims.nonce}", until):
            raise needs_login("this refresh token was used before")
        return self._given(claims.name)

    def _given(self, name: str) -> SignedIn:
        account, now_s = self._settings.accounts[name], self._now_s()
        lives_s = self._settings.token_s
        access = Claims(Kind.PASSWORD, name, now_s + lives_s)
        again = Claims(Kind.REFRESH, name, now_s + REFRESH_S, secrets.token_hex(16))
        return SignedIn(signed(access, account), lives_s - MARGIN_S, signed(again, account))

    def _now_s(self) -> int:
        return self._context.engine.clock.now() // SECOND
