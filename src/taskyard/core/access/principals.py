"""Who may do what: roles, tokens, users and the caller of a request."""

from collections.abc import Callable
from enum import IntEnum
from typing import Final, Self

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
    """Pause and limit groups, redeliver webhooks."""
    ADMIN = 40
    """Tokens, users, secrets, audit trail."""

    @property
    def word(self) -> str:
        """The role as it is written on the wire: ``read``, ``write``, ``operate``, ``admin``."""
        return self.name.lower()


INSTALLATION: Final = WorkspaceName("*")
"""Stands where a workspace would for credentials of no workspace, and names the audit trail of the
installation. No workspace can have this name."""


class Credential(str):
    """A credential that callers came with, by its text: ``token`` or ``user`` and its id.

    All callers of one credential share one object, so that everything that lasts can watch for its
    end. Equal to its text. Belongs to one event loop.
    """

    __slots__ = ("__weakref__", "_watchers", "expires_at", "has_ended")

    expires_at: Instant | None
    """When it ends by itself; None if it does not."""
    has_ended: bool
    """Whether it was revoked, removed or changed; expiry is not looked at."""

    def __new__(cls, text: str, expires_at: Instant | None = None) -> Self:
        """A credential that is valid now."""
        made = super().__new__(cls, text)
        made.expires_at = expires_at
        made.has_ended = False
        made._watchers = set()
        return made

    _watchers: set[Callable[[], None]]

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` once when it ends; at once if it has."""
        if self.has_ended:
            watcher()
        else:
            self._watchers.add(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Do not call it any more."""
        self._watchers.discard(watcher)

    def end(self) -> None:
        """The credential stops being valid. Can be called twice."""
        self.has_ended = True
        watchers, self._watchers = self._watchers, set()
        for watcher in watchers:
            watcher()


class Caller(Struct, frozen=True):
    """Who is asking, and where and what they may."""

    actor: str
    """For the audit trail, such as ``token ci``, ``user admin``, ``anonymous``."""
    workspace: WorkspaceName
    role: Role
    address: str | None = None
    """Network address of the peer, if it has one."""
    credential: str | None = None
    """Which credential it came with: ``token`` or ``user`` and its id; None without any. Usually a
    :class:`Credential`, whose end can be watched."""
    installation: Role | None = None
    """What it may do with what all workspaces share: ``read`` to see it, ``operate`` to change it,
    ``admin`` to give out credentials of any workspace; None for nothing."""

    @property
    def is_of_installation(self) -> bool:
        """Whether it belongs to no workspace, so that it has nothing to do with tasks."""
        return self.workspace == INSTALLATION


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

    @property
    def is_of_installation(self) -> bool:
        """Whether its role is one of the installation, and it belongs to no workspace."""
        return self.workspace == INSTALLATION


class User(Struct, frozen=True):
    """A user who signs in with name and password."""

    name: str
    workspace: WorkspaceName
    role: Role
    created_at: Instant


class AuditEntry(Struct, frozen=True):
    """One successful write, or refused attempts at something."""

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
    count: int = 1
    """How often it happened; refused attempts of one kind are gathered for a minute."""
