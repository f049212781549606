"""Credentials of workers on other machines."""

from msgspec import Struct

from taskyard.core.errors import NotAuthenticated
from taskyard.core.instants import Instant


class WorkerToken(Struct, frozen=True, kw_only=True):
    """A credential that one worker joins with. Its secret is not here: only a hash is stored."""

    name: str
    """Unique, and the id of the worker that joins with it."""
    tags: tuple[str, ...] = ()
    """Which the worker has besides those it is started with."""
    created_at: Instant
    created_by: str
    """Who made it, such as ``token ci``."""
    expires_at: Instant | None = None
    """None: it does not expire."""
    revoked_at: Instant | None = None
    last_seen_at: Instant | None = None
    """When a worker last connected with it."""

    def check(self, now: Instant) -> None:
        """Raise ``NotAuthenticated``, saying why, unless it is valid now."""
        if self.revoked_at is not None:
            raise NotAuthenticated(f"the worker token {self.name!r} was revoked")
        if self.expires_at is not None and now >= self.expires_at:
            raise NotAuthenticated(f"the worker token {self.name!r} has expired")


class StoredWorkerToken(Struct, frozen=True):
    """A credential, and how to recognise its secret."""

    token: WorkerToken
    digest: bytes
    """SHA-256 of the secret."""
