"""The store ports of access: tokens, users, secrets, and the audit trail.

A write comes with the audit entry that tells of it, and both are committed together or neither.
The store gives entries their ``number``; what a new one carries there is ignored. Someone else's
object is an unknown one.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from taskyard.core.access.principals import AuditEntry, Token, User
from taskyard.core.ids import WorkspaceName
from taskyard.core.instants import Instant


class StoredToken(Struct, frozen=True):
    """A token, and how to recognise it."""

    token: Token
    digest: bytes
    """SHA-256 of the whole token text."""


class StoredUser(Struct, frozen=True):
    """A user, and how to recognise the password."""

    user: User
    password_hash: str


class SecretRecord(Struct, frozen=True):
    """That a secret exists; never what it is."""

    name: str
    created_at: Instant
    updated_at: Instant


class EncryptedValue(Struct, frozen=True):
    """An encrypted value, and what it belongs to."""

    kind: str
    """``secret`` or ``signing_key``."""
    workspace: WorkspaceName
    name: str
    """Empty for a signing key."""
    value: bytes


class TokenStore(Protocol):
    """Tokens. Ids are unique across workspaces."""

    async def add_token(self, token: Token, digest: bytes, entry: AuditEntry) -> None:
        """Raises ``Conflict`` if the id is taken."""
        ...

    async def find_token(self, token_id: str) -> StoredToken | None:
        """The token with this id in any workspace, whether or not it is still valid."""
        ...

    async def tokens(self, workspace: WorkspaceName, after: str | None, limit: int) -> list[Token]:
        """In order of id, behind ``after``; revoked and expired ones too."""
        ...

    async def revoke_token(
        self, workspace: WorkspaceName, token_id: str, now: Instant, entry: AuditEntry
    ) -> Token:
        """Revoke permanently; does nothing for a revoked one. Raises ``NotFound``."""
        ...

    async def note_uses(self, uses: Mapping[str, Instant]) -> None:
        """Set when tokens were last used, by id; an unknown id is ignored, time never goes back."""
        ...


class UserStore(Protocol):
    """Users. Names are unique across workspaces, as a login names no workspace."""

    async def add_user(self, user: User, password_hash: str, entry: AuditEntry) -> None:
        """Raises ``Conflict`` if the name is taken."""
        ...

    async def find_user(self, name: str) -> StoredUser | None:
        """The user of this name in any workspace."""
        ...

    async def users(self, workspace: WorkspaceName, after: str | None, limit: int) -> list[User]:
        """In order of name, behind ``after``."""
        ...

    async def remove_user(self, workspace: WorkspaceName, name: str, entry: AuditEntry) -> None:
        """Raises ``NotFound``."""
        ...

    async def set_password(
        self, workspace: WorkspaceName, name: str, password_hash: str, entry: AuditEntry
    ) -> None:
        """Raises ``NotFound``."""
        ...


class SecretStore(Protocol):
    """Encrypted values by name; the store never sees plain ones."""

    async def put_secret(
        self, workspace: WorkspaceName, name: str, value: bytes, now: Instant, entry: AuditEntry
    ) -> bool:
        """Create or replace; True if it was created."""
        ...

    async def secrets(
        self, workspace: WorkspaceName, after: str | None, limit: int
    ) -> list[SecretRecord]:
        """In order of name, behind ``after``."""
        ...

    async def sealed(self, workspace: WorkspaceName, names: Sequence[str]) -> dict[str, bytes]:
        """The encrypted values of those names that exist."""
        ...

    async def delete_secret(self, workspace: WorkspaceName, name: str, entry: AuditEntry) -> None:
        """Raises ``NotFound``."""
        ...

    async def sample(self) -> EncryptedValue | None:
        """Any one encrypted value of the store, to try a key on; None if there is none."""
        ...


class AuditStore(Protocol):
    """The audit trail. Of each workspace the newest entries are kept, older ones are dropped.

    Refused attempts have a smaller share of their own: they displace each other only.
    """

    async def append(self, entry: AuditEntry) -> int:
        """Add one entry; answers with its number."""
        ...

    async def recount(self, more: Mapping[int, int]) -> None:
        """Entries, by number, tell of so many more attempts; unknown numbers are ignored."""
        ...

    async def audit(
        self, workspace: WorkspaceName, before: int | None, limit: int
    ) -> list[AuditEntry]:
        """Newest first, with numbers below ``before``."""
        ...


class AccessStore(TokenStore, UserStore, Protocol):
    """What the access service keeps."""
