"""Signing in with an address and a password, and again with the refresh token of that."""

import secrets
from typing import Final

from msgspec import Struct

from taskyard.core.instants import SECOND, Instant
from taskyard.dialects.greencloud.accounts import note_wrong_secret
from taskyard.dialects.greencloud.errors import Refusal, needs_login
from taskyard.dialects.greencloud.settings import MARGIN_S, GreenCloudSettings
from taskyard.dialects.greencloud.tokens import Claims, Kind, signed, verified
from taskyard.dialects.http.dialect import DialectContext
from taskyard.services.access.passwords import LONGEST, Passwords

REFRESH_S: Final = 90 * 86_400


class SignedIn(Struct, frozen=True):
    """What somebody gets who is who they say."""

    token: str
    expires_in: int
    """Seconds the token may safely be used."""
    refresh_token: str
    """Good for one exchange, within 90 days."""


class SignIn:
    """Judges passwords and refresh tokens."""

    def __init__(self, host: DialectContext, settings: GreenCloudSettings) -> None:
        self._host = host
        self._settings = settings
        self._passwords = Passwords()
        self._limiter = host.engine.access.limiter
        self._names = {
            account.email.lower(): name
            for name, account in settings.accounts.items()
            if account.email and account.password_hash is not None
        }

    async def log_in(self, email: str, password: str, address: str | None) -> SignedIn:
        """Tokens for a password. Raises ``Refusal`` (401), ``Overloaded`` for who guesses."""
        email = email.lower()
        name = self._names.get(email)
        stored = None if name is None else self._settings.accounts[name].password_hash
        guessed = f"greencloud {email}"
        self._limiter.enter(guessed, address, self._host.engine.clock.now())
        judged = False
        try:
            right = len(password) <= LONGEST and await self._passwords.verify(stored, password)
            judged = True
        finally:
            if not judged:  # too much to do, or whoever asked went away
                self._limiter.undo(guessed, address)
        if not right or name is None:
            await note_wrong_secret(self._host.engine, "password", address)
            raise Refusal(401, "INVALID_CREDENTIALS", "the address or the password is wrong")
        self._limiter.forgive(guessed, address)
        return self._given(name)

    async def refresh(self, token: str, address: str | None) -> SignedIn:
        """New tokens for a refresh token, which is used up.

        Raises ``Refusal`` (401), and ``Overloaded`` for guesses.
        """
        engine = self._host.engine
        claims = verified(token, self._settings.accounts, self._now_s())
        if claims is None or claims.kind is not Kind.REFRESH:
            self._limiter.enter(None, address, engine.clock.now())
            await note_wrong_secret(engine, "refresh token", address)
            raise needs_login("this refresh token is not valid, or has expired")
        until = Instant(claims.expires_s * SECOND)
        if not await engine.issuing.use_once(f"refresh:{claims.nonce}", until):
            raise needs_login("this refresh token was used before")
        return self._given(claims.name)

    def _given(self, name: str) -> SignedIn:
        account, now_s = self._settings.accounts[name], self._now_s()
        lives_s = self._settings.token_s
        access = Claims(Kind.PASSWORD, name, now_s + lives_s)
        again = Claims(Kind.REFRESH, name, now_s + REFRESH_S, secrets.token_hex(16))
        return SignedIn(signed(access, account), lives_s - MARGIN_S, signed(again, account))

    def _now_s(self) -> int:
        return self._host.engine.clock.now() // SECOND
