"""Who may do what: roles, tokens, users and the caller of a request."""

from enum import IntEnum

from msgspec import Struct

from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant


class Role(IntEnum):
    """What a credential allows; each role includes the ones below it."""

    READ = 10
    """See tasks, logs, schedules, groups, workers."""
    WRITE = 20
    """Submit, cancel, retry, delete and change tasks and schedules."""
    OPERATE = 30
    """Pause and limit groups, drain workers, redeliver webhooks."""
    ADMIN = 40
    """Tokens, users, secrets, audit trail."""

    @property
    def word(self) -> str:
        """The role as it is written on the wire: ``read``, ``write``, ``operate``, ``admin``."""
        return self.name.lower()


class Caller(Struct, frozen=True):
    """Who is asking, and where and what they may."""

    actor: str
    """For the audit trail, such as ``token ci``, ``user admin``, ``anonymous``."""
    workspace: WorkspaceName
    role: Role
    address: str | None = None
    """Network address of the peer, if it has one."""
    credential: str | None = None
    """Which credential it came with: ``token`` or ``user`` and its id; None without any."""


class Token(Struct, frozen=True):
    """A stored token. Its secret is not here: only a hash of it is kept."""

    id: str
    name: str
    workspace: WorkspaceName
    role: Role
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    last_used_at: Instant | None = None
    """To the hour, so that using a token does not cost a write each time."""


class User(Struct, frozen=True):
    """Somebody who signs in with name and password."""

    name: str
    workspace: WorkspaceName
    role: Role
    created_at: Instant


class AuditEntry(Struct, frozen=True):
    """One successful write or one refused attempt at it."""

    number: int
    at: Instant
    actor: str
    workspace: WorkspaceName
    action: str
    """Such as ``task.submit`` or ``token.create``."""
    target: str | None = None
    outcome: str = "done"
    """``done`` or ``refused``."""
    address: str | None = None
    detail: str | None = None
