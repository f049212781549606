"""Credentials of workers on other machines: given out, checked, revoked.

Whoever joins runs what workspaces submit and sees their secrets, so that only admins of the
installation give them out. A worker that comes with one that is not valid is refused and audited;
revoking cuts a worker off at once and has its attempts run elsewhere.
"""

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio
import structlog

from taskyard.core.access.join_string import WORKER_NAME, JoinAddress, JoinString
from taskyard.core.access.principals import INSTALLATION, Caller, Role
from taskyard.core.access.worker_tokens import StoredWorkerToken, WorkerToken
from taskyard.core.errors import Conflict, InvalidInput, NotAllowed, NotAuthenticated, TaskyardError
from taskyard.core.ids import WorkerId
from taskyard.core.instants import after as later
from taskyard.ports.clock import Clock
from taskyard.ports.dispatching import DispatchStore
from taskyard.ports.worker_tokens import WorkerTokenStore
from taskyard.services.access.accounts import EXPIRY_MAX_S
from taskyard.services.access.audit import Audit
from taskyard.services.access.authentication import token_digest
from taskyard.services.access.permissions import require_installation
from taskyard.services.notifications.bus import Bus
from taskyard.services.scheduling.dispatch import Dispatch

MOST_TAGS: Final = 64
TAG_CHARACTERS: Final = 255
KICK_S: Final = 2.0
"""Seconds that cutting a worker off may take; its lease is over before that."""
RESERVED: Final = frozenset({"local"})
"""Ids of workers that no machine joins with."""
_NAME: Final = re.compile(WORKER_NAME)
_NO_DIGEST: Final = bytes(32)

log = structlog.get_logger(__name__)


class WorkerTokens:
    """Worker tokens."""

    def __init__(
        self,
        store: WorkerTokenStore,
        dispatching: DispatchStore,
        dispatch: Dispatch,
        audit: Audit,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._store = store
        self._dispatching = dispatching
        self._dispatch = dispatch
        self._audit = audit
        self._bus = bus
        self._clock = clock
        self.address: JoinAddress | None = None
        """Where workers connect to; None if they cannot."""
        self.obstacle = (
            "workers join over NATS, and this control plane has none; start it with --cluster,"
            " or with --nats and the address of a NATS server"
        )
        """Why workers cannot join where there is no address, and what to do."""
        self.kick: Callable[[str], Awaitable[None]] = _kick_nobody
        """Cuts off whoever is connected under a name."""

    async def create(
        self,
        caller: Caller,
        name: str,
        tags: Sequence[str] = (),
        expires_in_s: float | None = None,
    ) -> tuple[WorkerToken, JoinString]:
        """Create a credential; its join string is returned once and cannot be read again.

        ``expires_in_s`` None means it never expires. One of the same name that was revoked or has
        expired is replaced.

        Raises:
            NotAllowed: the caller is no admin of the installation.
            InvalidInput: a name, a tag or the expiry breaks a rule.
            Conflict: there is a valid one of this name, or a worker that needs none; or this
                control plane has no NATS that workers could connect to.
        """
        await self._require(caller, "worker_token.create", name)
        _check(name, tags, expires_in_s)
        address = self.address
        if address is None:
            raise Conflict(self.obstacle)
        for record in await self._dispatching.workers():
            if record.id == name and not await self._store.find(name):
                raise Conflict(f"there is a worker {name!r} inside a control plane; choose another")
        now = self._clock.now()
        secret = secrets.token_urlsafe(32)
        token = WorkerToken(
            name=name,
            tags=tuple(dict.fromkeys(tags)),
            created_at=now,
            created_by=caller.actor,
            expires_at=None if expires_in_s is None else later(now, expires_in_s),
        )
        entry = self._audit.entry(
            caller,
            "worker_token.create",
            name,
            detail=", ".join(token.tags) or None,
            workspace=INSTALLATION,
        )
        await self._store.add(token, token_digest(secret), now, entry)
        return token, JoinString(
            urls=address.urls,
            installation=address.installation,
            name=name,
            secret=secret,
            ca_pem=address.ca_pem,
            tags=token.tags,
            expires_at=token.expires_at,
        )

    async def page(
        self, caller: Caller, after: str | None = None, limit: int = 50
    ) -> list[WorkerToken]:
        """In order of name, behind ``after``; revoked and expired too. Raises ``NotAllowed``."""
        require_installation(caller, Role.ADMIN)
        return await self._store.page(after, limit)

    async def revoke(self, caller: Caller, name: str) -> WorkerToken:
        """Revoke one: its worker is cut off, and what it runs goes elsewhere.

        Goes on if the caller goes away meanwhile. Raises ``NotAllowed`` or ``NotFound``.
        """
        await self._require(caller, "worker_token.revoke", name)
        entry = self._audit.entry(caller, "worker_token.revoke", name, workspace=INSTALLATION)
        with anyio.CancelScope(shield=True):
            token = await self._store.revoke(name, self._clock.now(), entry)
            await self._kick(name)
            await self.fence(name)
        return token

    async def fence(self, name: str) -> None:
        """Have what the worker of this name runs go elsewhere; nothing it reports counts then."""
        for record in await self._dispatching.workers():
            if record.id == WorkerId(name) and record.state != "lost":
                changes = await self._dispatching.lose(
                    record.id, record.incarnation, self._clock.now()
                )
                self._dispatch.left(record.id)
                log.warning("worker_fenced", worker_id=name, incarnation=record.incarnation)
                self._bus.publish(changes)

    async def authenticate(self, caller: Caller, name: str, secret: str) -> WorkerToken:
        """The credential that somebody connects with, which was seen now.

        Args:
            caller: for the audit trail: who tries.
            name: of the credential.
            secret: what proves it.

        Raises ``NotAuthenticated`` that tells why and is audited; no errors tell a name that does
        not exist from a wrong secret.
        """
        now = self._clock.now()
        try:
            found = await self._proven(name, secret)
            found.token.check(now)
        except NotAuthenticated as refused:
            await self._audit.refused(
                caller, "worker.connect", name, str(refused), workspace=INSTALLATION
            )
            raise
        await self._store.seen(name, found.digest, now)
        return found.token

    async def _proven(self, name: str, secret: str) -> StoredWorkerToken:
        found = await self._store.find(name) if _NAME.match(name) else None
        digest = _NO_DIGEST if found is None else found.digest
        # As long for a name that does not exist as for a wrong secret.
        if not hmac.compare_digest(token_digest(secret), digest) or found is None:
            raise NotAuthenticated("there is no worker token with this name and secret")
        return found

    async def valid(self, name: str) -> WorkerToken:
        """The credential of a worker that NATS has let in under this name.

        Raises ``NotAuthenticated``, which is audited, if it is not valid any more.
        """
        try:
            found = await self._store.find(name)
            if found is None:
                raise NotAuthenticated(f"there is no worker token {name!r}")  # noqa: TRY301 - one place tells of it
            found.token.check(self._clock.now())
        except NotAuthenticated as refused:
            caller = Caller("worker", INSTALLATION, Role.READ)
            await self._audit.refused(caller, "worker.join", name, str(refused))
            raise
        return found.token

    async def _require(self, caller: Caller, action: str, name: str) -> None:
        try:
            require_installation(caller, Role.ADMIN)
        except NotAllowed as refused:
            await self._audit.not_allowed(caller, refused, action, name)
            raise

    async def _kick(self, name: str) -> None:
        """Cut it off; it is told nothing and gets nothing new if that does not work."""
        try:
            with anyio.fail_after(KICK_S):
                await self.kick(name)
        except (TaskyardError, TimeoutError) as error:
            reason = str(error) or "no answer"
            log.warning("worker_not_cut_off", worker_id=name, reason=reason)


async def _kick_nobody(_name: str) -> None:
    """Nobody is connected where there is no NATS."""


def _check(name: str, tags: Sequence[str], expires_in_s: float | None) -> None:
    if not _NAME.match(name) or name in RESERVED:
        raise InvalidInput(
            "name",
            "must be 1 to 63 characters from a-z 0-9 -, starting with a letter or digit, and not"
            f" {', '.join(sorted(RESERVED))}",
        )
    if len(tags) > MOST_TAGS:
        raise InvalidInput("tags", f"must be {MOST_TAGS} or fewer")
    for tag in tags:
        if not 1 <= len(tag) <= TAG_CHARACTERS or not tag.isprintable():
            raise InvalidInput("tags", f"must be of 1 to {TAG_CHARACTERS} printable characters")
    if expires_in_s is not None and not 1 <= expires_in_s <= EXPIRY_MAX_S:
        raise InvalidInput("expires_in_s", f"must be from 1 to {EXPIRY_MAX_S}")
