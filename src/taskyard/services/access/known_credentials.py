"""Credentials that were found valid and are remembered, and those being verified."""

import base64
import binascii

import anyio

from taskyard.core.access.principals import INSTALLATION, Caller, Credential, Role
from taskyard.core.errors import TaskyardError
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant


class KnownCredential:
    """A credential that was found valid."""

    __slots__ = (
        "actor",
        "credential",
        "installation",
        "role",
        "sources",
        "token_id",
        "used_at",
        "user",
        "workspace",
    )

    def __init__(
        self,
        actor: str,
        workspace: WorkspaceName,
        role: Role,
        credential: Credential,
        *,
        installation: Role | None = None,
        token_id: str | None = None,
        user: str | None = None,
        used_at: Instant = Instant(0),  # noqa: B008 - NewType is free
    ) -> None:
        self.actor = actor
        self.workspace = workspace
        self.role = role
        self.credential = credential
        self.installation = installation
        self.token_id = token_id
        self.user = user
        self.used_at = used_at
        self.sources: dict[str | None, None] = {}
        """Addresses that a password came from, oldest first."""
        if workspace == INSTALLATION:
            # Its role is one of the installation; in workspaces it has none to speak of.
            self.role, self.installation = Role.READ, role

    def caller(self, address: str | None) -> Caller:
        """Who comes with it from there."""
        return Caller(
            self.actor, self.workspace, self.role, address, self.credential, self.installation
        )


class Verification:
    """A password being verified; concurrent requests with the same one wait for the result."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.error: TaskyardError | None = None


def remember(
    cache: dict[bytes, KnownCredential], digest: bytes, known: KnownCredential, limit: int
) -> None:
    """Add to a bounded cache; the oldest one makes room."""
    while len(cache) >= limit:
        del cache[next(iter(cache))]
    cache[digest] = known


def read_basic(credential: str) -> tuple[str, str] | None:
    """Name and password of a Basic credential (RFC 7617), or None if it cannot be read."""
    try:
        name, colon, password = base64.b64decode(credential, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
