"""Tells who is asking, from the credential that came along. On the path of every request.

A credential that was seen before costs a hash and a dictionary look-up; nothing is awaited. What
is remembered is exact, not merely recent: every revoked token and changed password passes through
:meth:`Authentication.forget_token` or :meth:`~Authentication.forget_user`, those of other control
planes as soon as their commit is announced. Expiry is looked at each time.

A password that was seen before is accepted at once where it came from before. From elsewhere it
passes the pauses for guessing first: otherwise guesses at passwords in use would cost nothing.
Tokens are too long to be guessed, so that a right one is never held up; wrong ones are.
"""

import hashlib
import hmac
import re
import secrets
from typing import Final
from weakref import WeakValueDictionary

import structlog

from taskyard.core.access.principals import INSTALLATION, Caller, Credential, Role, Token
from taskyard.core.errors import NotAuthenticated, TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import SECOND, Instant
from taskyard.ports.access import AccessStore, StoredToken, StoredUser
from taskyard.ports.clock import Clock
from taskyard.services.access.audit import Audit
from taskyard.services.access.known_credentials import (
    KnownCredential,
    Verification,
    read_basic,
    remember,
)
from taskyard.services.access.login_throttle import LoginThrottle
from taskyard.services.access.passwords import LONGEST, Passwords

TOKENS_REMEMBERED: Final = 10_000
USERS_REMEMBERED: Final = 1_000
SOURCES_REMEMBERED: Final = 64
"""Addresses that are remembered for each password."""
HEADER_LIMIT: Final = 4096
_HOUR: Final = 3600 * SECOND
_TOKEN: Final = re.compile(r"ty_([a-z0-9]{8})_[A-Za-z0-9_-]{43}\Z")

log = structlog.get_logger(__name__)


def token_digest(token: str) -> bytes:
    """What is kept of a token: SHA-256 of its text, which has 256 random bits of its own."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Authentication:
    """Turns credentials into callers."""

    def __init__(
        self, store: AccessStore, clock: Clock, audit: Audit, passwords: Passwords
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._passwords = passwords
        self._tokens: dict[bytes, KnownCredential] = {}
        self._users: dict[bytes, KnownCredential] = {}
        self._dev_tokens: dict[bytes, KnownCredential] = {}
        self._dev_users: dict[bytes, KnownCredential] = {}
        self._flights: dict[bytes, Verification] = {}
        self._credentials: WeakValueDictionary[str, Credential] = WeakValueDictionary()
        self.limiter = LoginThrottle()
        self._uses: dict[str, Instant] = {}
        self._revision = 0
        # Passwords are remembered as keyed hashes whose key dies with the process.
        self._key = secrets.token_bytes(32)

    def known(self, header: str, address: str | None = None) -> Caller | None:
        """The caller of an ``Authorization`` header that was verified before, or None; a few µs.

        None says nothing about the credential: :meth:`authenticate` finds out.
        """
        if header.startswith("Bearer "):
            return self.known_token(header[7:], address)
        if header.startswith("Basic "):
            pair = read_basic(header[6:])
            return None if pair is None else self._known_user(self._digest(*pair), address)
        return None

    def known_token(self, token: str, address: str | None = None) -> Caller | None:
        """The same for a token that came some other way."""
        digest = token_digest(token)
        known = self._tokens.get(digest) or self._dev_tokens.get(digest)
        if known is None:
            return None
        now = self._clock.now()
        expires_at = known.credential.expires_at
        if expires_at is not None and now >= expires_at:
            del self._tokens[digest]
            known.credential.end()
            return None
        if known.token_id is not None and now - known.used_at >= _HOUR:
            known.used_at = Instant(now - now % _HOUR)
            self._uses[known.token_id] = known.used_at
        return known.caller(address)

    async def authenticate(self, header: str | None, address: str | None = None) -> Caller:
        """The caller of an ``Authorization`` header.

        Raises:
            NotAuthenticated: there is none, it cannot be read, or it is not valid.
            Overloaded: too many wrong credentials, or too many sign-ins at once.
        """
        if not header:
            raise NotAuthenticated("no credential was presented")
        if len(header) > HEADER_LIMIT:
            raise NotAuthenticated("the Authorization header is too long")
        scheme, _, credential = header.partition(" ")
        credential = credential.strip()
        if scheme.lower() == "bearer":
            return await self.authenticate_token(credential, address)
        if scheme.lower() == "basic":
            pair = read_basic(credential)
            if pair is None:
                raise NotAuthenticated("the Basic credential cannot be read")
            return await self.authenticate_password(*pair, address)
        raise NotAuthenticated("the Authorization header must begin with Bearer or Basic")

    async def authenticate_token(self, token: str, address: str | None = None) -> Caller:
        """The caller of a token. Raises ``NotAuthenticated``, and ``Overloaded`` for guesses."""
        caller = self.known_token(token, address)
        if caller is not None:
            return caller
        match = _TOKEN.match(token)
        if match is None:
            await self._guessed(None, address)
            raise NotAuthenticated("this token is not valid")
        digest = token_digest(token)
        while True:
            revision = self._revision
            stored = await self._store.find_token(match[1])
            # A revocation that was committed while the store was read may not have been seen.
            if revision == self._revision:
                break
        if stored is None or not hmac.compare_digest(stored.digest, digest):
            await self._guessed(stored, address)
            raise NotAuthenticated("this token is not valid")
        if (problem := self._problem(stored.token)) is not None:
            await self._refuse(stored, address, problem)
            raise NotAuthenticated(f"this token {problem}")
        known = self._known_of(stored.token)
        remember(self._tokens, digest, known, TOKENS_REMEMBERED)
        caller = self.known_token(token, address)
        if caller is None:
            raise NotAuthenticated("this token has expired")
        return caller

    async def authenticate_password(
        self, name: str, password: str, address: str | None = None
    ) -> Caller:
        """The caller of a user's name and password. Raises as :meth:`authenticate`."""
        digest = self._digest(name, password)
        while (caller := self._known_user(digest, address)) is None:
            flight = self._flights.get(digest)
            if flight is None:
                return await self._lead(digest, name, password, address)
            await flight.done.wait()
            if flight.error is not None:
                raise flight.error
        return caller

    def install_dev(self, workspace: WorkspaceName) -> None:
        """Let in the well-known credentials of ``--dev``. They are kept in memory only."""
        token = Credential("token dev")
        self._dev_tokens[token_digest("dev")] = KnownCredential(
            "token dev", workspace, Role.ADMIN, token, installation=Role.OPERATE
        )
        for name, role, installation in (
            ("admin", Role.ADMIN, Role.OPERATE),
            ("guest", Role.READ, None),
        ):
            actor = f"user {name}"
            known = KnownCredential(
                actor, workspace, role, Credential(actor), installation=installation, user=name
            )
            self._dev_users[self._digest(name, name)] = known

    def forget_token(self, token_id: str) -> None:
        """A token may have changed: look it up again at its next use."""
        self._revision += 1
        for digest in [d for d, known in self._tokens.items() if known.token_id == token_id]:
            del self._tokens[digest]
        self._uses.pop(token_id, None)

    def forget_user(self, name: str) -> None:
        """A user may have changed: verify the name again at its next use."""
        self._revision += 1
        for digest in [d for d, known in self._users.items() if known.user == name]:
            del self._users[digest]

    def token_changed(self, token_id: str | None) -> None:
        """A token was revoked elsewhere; None: any may have been."""
        if token_id is None:
            self._forget_all(self._tokens, "token ")
        else:
            self.forget_token(token_id)
            self.end(f"token {token_id}")

    def user_changed(self, name: str | None) -> None:
        """A user was removed elsewhere, or its password changed; None: any may have been."""
        if name is None:
            self._forget_all(self._users, "user ")
        else:
            self.forget_user(name)
            self.end(f"user {name}")

    def _forget_all(self, known: dict[bytes, KnownCredential], kind: str) -> None:
        """Verify all again; what lasts of them ends, and its clients come back."""
        self._revision += 1
        known.clear()
        dev = {one.credential for one in (*self._dev_tokens.values(), *self._dev_users.values())}
        for text, credential in list(self._credentials.items()):
            if text.startswith(kind) and credential not in dev:
                self.end(text)

    def end(self, text: str) -> None:
        """A credential, ``token`` or ``user`` and its id, has ended: so does what lasts of it."""
        credential = self._credentials.pop(text, None)
        if credential is not None:
            credential.end()

    def last_use(self, token_id: str) -> Instant | None:
        """When a token was last used; None if that is stored already."""
        return self._uses.get(token_id)

    async def write_uses(self) -> None:
        """Store when tokens were last used, as far as that is news; a write at most each hour.

        Raises ``StorageFull`` or ``Unavailable``, and then tries them again the next time.
        """
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._store.note_uses(uses)
        except BaseException:
            self._uses = {**uses, **self._uses}
            raise

    def _known_user(self, digest: bytes, address: str | None) -> Caller | None:
        known = self._users.get(digest) or self._dev_users.get(digest)
        if known is None:
            return None
        if address not in known.sources:
            if known.user is not None and self.limiter.is_paused(
                known.user, address, self._clock.now()
            ):
                return None
            self._came_from(known, address)
        return known.caller(address)

    @staticmethod
    def _came_from(known: KnownCredential, address: str | None) -> None:
        while len(known.sources) >= SOURCES_REMEMBERED:
            del known.sources[next(iter(known.sources))]
        known.sources[address] = None

    async def _lead(self, digest: bytes, name: str, password: str, address: str | None) -> Caller:
        """Verify once; concurrent requests with the same credentials share the result."""
        flight = self._flights[digest] = Verification()
        try:
            known = await self._verify(name, password, address)
        except TaskyardError as error:
            flight.error = error
            raise
        else:
            self._came_from(known, address)
            remember(self._users, digest, known, USERS_REMEMBERED)
            return known.caller(address)
        finally:
            del self._flights[digest]
            flight.done.set()

    async def _verify(self, name: str, password: str, address: str | None) -> KnownCredential:
        self.limiter.enter(name, address, self._clock.now())
        judged = False
        try:
            while True:
                revision = self._revision
                stored = await self._store.find_user(name)
                right = len(password) <= LONGEST and await self._passwords.verify(
                    stored.password_hash if stored else None, password
                )
                # A password that was changed meanwhile must not be let in once more.
                if revision == self._revision:
                    break
            judged = True
        finally:
            if not judged:
                self.limiter.undo(name, address)
        if not right or stored is None:
            log.warning("sign_in_refused", user=name[:64], address=address)
            await self._refuse(stored, address, "wrong password" if stored else "unknown user")
            raise NotAuthenticated("the name or the password is wrong")
        self.limiter.forgive(name, address)
        user = stored.user
        actor = f"user {user.name}"
        return KnownCredential(
            actor, user.workspace, user.role, self._credential(actor, None), user=user.name
        )

    async def _guessed(self, stored: StoredToken | None, address: str | None) -> None:
        """Count a wrong token. Raises ``Overloaded`` if there were too many."""
        name = None if stored is None else f"token {stored.token.id}"
        self.limiter.enter(name, address, self._clock.now())
        await self._refuse(stored, address, "wrong secret" if stored else "unknown token")

    async def _refuse(
        self,
        stored: StoredToken | StoredUser | None,
        address: str | None,
        detail: str,
    ) -> None:
        """Record it where the credential belongs; in the installation's trail if there is none.

        What names nobody is not recorded: it may be a secret that was put in the wrong place.
        """
        actor, workspace, target, action = "anonymous", INSTALLATION, None, "authenticate"
        if isinstance(stored, StoredToken):
            token = stored.token
            actor, workspace, target = f"token {token.name}", token.workspace, token.id
            action = "token.authenticate"
        elif isinstance(stored, StoredUser):
            user = stored.user
            actor, workspace, target = f"user {user.name}", user.workspace, user.name
            action = "user.authenticate"
        caller = Caller(actor, workspace, Role.READ, address)
        await self._audit.refused(caller, action, target, detail)

    def _problem(self, token: Token) -> str | None:
        if token.revoked_at is not None:
            return "was revoked"
        if token.expires_at is not None and self._clock.now() >= token.expires_at:
            return "has expired"
        return None

    def _known_of(self, token: Token) -> KnownCredential:
        return KnownCredential(
            f"token {token.name}",
            token.workspace,
            token.role,
            self._credential(f"token {token.id}", token.expires_at),
            token_id=token.id,
            used_at=token.last_used_at or Instant(0),
        )

    def _credential(self, text: str, expires_at: Instant | None) -> Credential:
        found = self._credentials.get(text)
        if found is None or found.has_ended:
            found = self._credentials[text] = Credential(text, expires_at)
        return found

    def _digest(self, name: str, password: str) -> bytes:
        # NUL cannot stand in a name that anybody has, so no two pairs look alike.
        text = f"{name}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256")
