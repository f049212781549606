"""The store port of credentials that workers on other machines join with."""

from typing import Protocol

from taskyard.core.access.principals import AuditEntry
from taskyard.core.access.worker_tokens import StoredWorkerToken, WorkerToken
from taskyard.core.instants import Instant


class WorkerTokenStore(Protocol):
    """Worker tokens, by name. A write and the audit entry about it are committed together."""

    async def add(self, token: WorkerToken, digest: bytes, now: Instant, entry: AuditEntry) -> None:
        """Store a new one; one of the same name that is not valid at ``now`` is replaced.

        Raises ``Conflict`` if there is a valid one of this name.
        """
        ...

    async def find(self, name: str) -> StoredWorkerToken | None:
        """The one of this name, whether or not it is still valid."""
        ...

    async def page(self, after: str | None, limit: int) -> list[WorkerToken]:
        """In order of name, behind ``after``; revoked and expired ones too."""
        ...

    async def revoke(self, name: str, now: Instant, entry: AuditEntry) -> WorkerToken:
        """Revoke permanently; does nothing for a revoked one. Raises ``NotFound``."""
        ...

    async def seen(self, name: str, digest: bytes, now: Instant) -> None:
        """A worker connected; an unknown or replaced token is ignored, time never goes back."""
        ...
