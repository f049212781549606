"""Tokens and users: who may do what, and who decides about it.

Only an admin changes access, only inside its own workspace, and never grants more than it has. An
admin of the installation may name any workspace, and the installation itself. So may the ``local``
caller (the control socket, or the command line on a data directory nobody serves): whoever can
reach it owns the files anyway.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
from msgspec.structs import replace

from taskyard.core.access.principals import INSTALLATION, Caller, Role, Token, User
from taskyard.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import after as later
from taskyard.ports.access import AccessStore
from taskyard.ports.clock import Clock
from taskyard.services.access.audit import Audit
from taskyard.services.access.authentication import Authentication, token_digest
from taskyard.services.access.passwords import Passwords, check_password
from taskyard.services.access.permissions import check_name, require, require_installation

T = TypeVar("T")

LOCAL: Final = "local"
"""The actor of the control socket, which has every role everywhere."""
DEFAULT_WORKSPACE: Final = WorkspaceName("default")
EXPIRY_MAX_S: Final = 10 * 365 * 86400
_WORKSPACE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_ID_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


class Accounts:
    """Credentials: checking them, and giving them out."""

    def __init__(
        self,
        store: AccessStore,
        clock: Clock,
        audit: Audit,
        passwords: Passwords | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._passwords = passwords or Passwords()
        authentication = Authentication(store, clock, audit, self._passwords)
        self._authentication = authentication
        # Handed through as they are: each request passes here, and a call less is a call less.
        self.known = authentication.known
        self.known_token = authentication.known_token
        self.authenticate = authentication.authenticate
        self.authenticate_token = authentication.authenticate_token
        self.authenticate_password = authentication.authenticate_password
        self.write_uses = authentication.write_uses
        self.token_changed = authentication.token_changed
        self.user_changed = authentication.user_changed
        self.limiter = authentication.limiter
        self.admit: Callable[[WorkspaceName], None] = lambda _workspace: None
        """Raises ``Conflict`` for a workspace that may not be served beside those there are."""

    def install_dev(self, workspace: WorkspaceName = DEFAULT_WORKSPACE) -> None:
        """Let in token ``dev`` and users admin/admin and guest/guest, in memory only."""
        self._authentication.install_dev(workspace)

    async def create_token(
        self,
        caller: Caller,
        name: str,
        role: Role,
        workspace: WorkspaceName | None = None,
        expires_in_s: float | None = None,
    ) -> tuple[Token, str]:
        """Create a token; its text is returned once and cannot be read again.

        ``workspace`` is the caller's own when None; with :data:`INSTALLATION`, the role is one of
        the installation. ``expires_in_s`` None means it never expires.

        Raises:
            NotAllowed: the caller is no admin there.
            InvalidInput: a name, the role or the expiry breaks a rule.
            Conflict: the workspace may not be served beside those there are.
        """
        check_name(name)
        where = await self._enter(caller, "token.create", name, workspace, role)
        if expires_in_s is not None and not 1 <= expires_in_s <= EXPIRY_MAX_S:
            raise InvalidInput("expires_in_s", f"must be from 1 to {EXPIRY_MAX_S}")
        now = self._clock.now()
        while True:
            token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(8))
            text = f"ty_{token_id}_{secrets.token_urlsafe(32)}"
            token = Token(
                id=token_id,
                name=name,
                workspace=where,
                role=role,
                created_at=now,
                expires_at=None if expires_in_s is None else later(now, expires_in_s),
            )
            entry = self._audit.entry(
                caller, "token.create", token_id, detail=f"{name}, {role.word}", workspace=where
            )
            try:
                await self._store.add_token(token, token_digest(text), entry)
            except Conflict:
                continue  # one id in some 10^12 is taken; draw again
            return token, text

    async def tokens(
        self,
        caller: Caller,
        after: str | None = None,
        limit: int = 50,
        workspace: WorkspaceName | None = None,
    ) -> list[Token]:
        """In order of id, behind ``after``; revoked and expired ones too. Raises ``NotAllowed``."""
        where = self._where(caller, workspace)
        page = await self._store.tokens(where, after, limit)
        last_use = self._authentication.last_use
        return [
            replace(token, last_used_at=last_use(token.id) or token.last_used_at) for token in page
        ]

    async def revoke_token(
        self, caller: Caller, token_id: str, workspace: WorkspaceName | None = None
    ) -> Token:
        """Revoke a token. Raises ``NotAllowed`` or ``NotFound``."""
        where = await self._enter(caller, "token.revoke", token_id, workspace)
        entry = self._audit.entry(caller, "token.revoke", token_id, workspace=where)
        return await _finish(
            self._store.revoke_token(where, token_id, self._clock.now(), entry),
            lambda: self._authentication.forget_token(token_id),
            lambda: self._authentication.end(f"token {token_id}"),
        )

    async def add_user(
        self,
        caller: Caller,
        name: str,
        password: str,
        role: Role,
        workspace: WorkspaceName | None = None,
    ) -> User:
        """A new user. Names are unique in the whole installation.

        Raises:
            NotAllowed: the caller is no admin there.
            InvalidInput: the name, the password or the role breaks a rule.
            Conflict: the name is taken, or the workspace may not be served beside others.
            Overloaded: too many passwords are being hashed.
        """
        check_name(name)
        check_password(password)
        where = await self._enter(caller, "user.add", name, workspace, role)
        hashed = await self._passwords.hash(password)
        user = User(name=name, workspace=where, role=role, created_at=self._clock.now())
        entry = self._audit.entry(caller, "user.add", name, detail=role.word, workspace=where)
        await self._store.add_user(user, hashed, entry)
        return user

    async def users(
        self,
        caller: Caller,
        after: str | None = None,
        limit: int = 50,
        workspace: WorkspaceName | None = None,
    ) -> list[User]:
        """In order of name, behind ``after``. Raises ``NotAllowed``."""
        return await self._store.users(self._where(caller, workspace), after, limit)

    async def remove_user(
        self, caller: Caller, name: str, workspace: WorkspaceName | None = None
    ) -> None:
        """Raises ``NotAllowed`` or ``NotFound``."""
        where = await self._enter(caller, "user.remove", name, workspace)
        entry = self._audit.entry(caller, "user.remove", name, workspace=where)
        await _finish(
            self._store.remove_user(where, name, entry),
            lambda: self._authentication.forget_user(name),
            lambda: self._authentication.end(f"user {name}"),
        )

    async def set_password(
        self, caller: Caller, name: str, password: str, workspace: WorkspaceName | None = None
    ) -> None:
        """Raises ``NotAllowed``, ``InvalidInput``, ``NotFound`` or ``Overloaded``."""
        check_password(password)
        where = await self._enter(caller, "user.set_password", name, workspace)
        hashed = await self._passwords.hash(password)
        entry = self._audit.entry(caller, "user.set_password", name, workspace=where)
        await _finish(
            self._store.set_password(where, name, hashed, entry),
            lambda: self._authentication.forget_user(name),
            lambda: self._authentication.end(f"user {name}"),
        )

    async def _enter(
        self,
        caller: Caller,
        action: str,
        target: str,
        workspace: WorkspaceName | None,
        grants: Role | None = None,
    ) -> WorkspaceName:
        """The workspace to act in; a refusal goes into the audit trail."""
        try:
            return self._where(caller, workspace, grants)
        except NotAllowed as refused:
            await self._audit.not_allowed(caller, refused, action, target)
            raise

    def _where(
        self, caller: Caller, workspace: WorkspaceName | None, grants: Role | None = None
    ) -> WorkspaceName:
        where = workspace or caller.workspace
        if where == INSTALLATION:
            require_installation(caller, Role.ADMIN)
            if grants is Role.WRITE:
                raise InvalidInput("role", "must be read, operate or admin for the installation")
            return where
        if (caller.installation or 0) < Role.ADMIN:
            require(caller, Role.ADMIN)
            if grants is not None and grants > caller.role:
                raise NotAllowed(f"you cannot grant a role above your own, {caller.role.word}")
            if where != caller.workspace and caller.actor != LOCAL:
                raise NotAllowed("an admin can only act in its own workspace")
        if not _WORKSPACE.match(where):
            raise InvalidInput(
                "workspace",
                "must be 1 to 63 characters from a-z 0-9 _ -, starting with a letter or digit",
            )
        if grants is not None:
            self.admit(where)
        return where


async def _finish(
    write: Awaitable[T], forget: Callable[[], None], announce_end: Callable[[], None]
) -> T:
    """Write, then forget what was remembered, also if the caller goes away meanwhile.

    A commit without its forgetting would leave a credential valid in memory. Its end is announced
    unless nothing was written: others may try to end what is not theirs.
    """
    written = []
    with anyio.CancelScope(shield=True):
        try:
            written.append(await write)
        except (NotFound, Conflict):
            raise
        except BaseException:
            announce_end()  # nobody can tell whether it was committed
            raise
        else:
            announce_end()
        finally:
            forget()
    return written[0]
