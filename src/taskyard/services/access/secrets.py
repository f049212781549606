"""Secrets of a workspace: put, listed by name, deleted, and resolved when an attempt starts.

A value is plain in memory only between its arrival and its sealing, and on its way to a worker.
"""

from collections.abc import Iterable
from typing import Final

from taskyard.core.access.principals import Caller, Role
from taskyard.core.errors import InvalidInput, NotAllowed, NotFound
from taskyard.core.ids import WorkspaceName
from taskyard.ports.access import EncryptedValue, SecretRecord, SecretStore
from taskyard.ports.clock import Clock
from taskyard.services.access.audit import Audit
from taskyard.services.access.encryption import Encryption
from taskyard.services.access.permissions import check_name, require

VALUE_BYTES: Final = 64 * 1024
"""Length of a value in UTF-8, at most."""
_KIND: Final = "secret"


class Secrets:
    """The secret store as callers and the engine see it."""

    def __init__(
        self, store: SecretStore, clock: Clock, audit: Audit, encryption: Encryption
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._encryption = encryption

    async def put(self, caller: Caller, name: str, value: str) -> bool:
        """Create or replace a secret; True if it was created.

        Raises:
            NotAllowed: the caller is no admin.
            InvalidInput: the name or the value breaks a rule.
            SecretKeyMissing, SecretKeyWrong: nothing can be encrypted now.
        """
        check_name(name)
        plain = _encoded(value)
        await self._enter(caller, "secret.put", name)
        sealed = await self._encryption.seal(_KIND, caller.workspace, name, plain)
        entry = self._audit.entry(caller, "secret.put", name)
        return await self._store.put_secret(
            caller.workspace, name, sealed, self._clock.now(), entry
        )

    async def page(
        self, caller: Caller, after: str | None = None, limit: int = 50
    ) -> list[SecretRecord]:
        """Names and times in order of name, behind ``after``. Raises ``NotAllowed``."""
        require(caller, Role.ADMIN)
        return await self._store.secrets(caller.workspace, after, limit)

    async def delete(self, caller: Caller, name: str) -> None:
        """Raises ``NotAllowed`` or ``NotFound``."""
        await self._enter(caller, "secret.delete", name)
        entry = self._audit.entry(caller, "secret.delete", name)
        await self._store.delete_secret(caller.workspace, name, entry)

    async def resolve(self, workspace: WorkspaceName, names: Iterable[str]) -> dict[str, str]:
        """The plain values of these secrets.

        Raises:
            NotFound: the workspace lacks one of them; of kind ``secret``, its key the name.
            SecretKeyMissing, SecretKeyWrong: they cannot be decrypted now.
        """
        wanted = sorted(set(names))
        if not wanted:
            return {}
        found = await self._store.sealed(workspace, wanted)
        plain = {}
        for name in wanted:
            if name not in found:
                raise NotFound(_KIND, name)
            sealed = EncryptedValue(_KIND, workspace, name, found[name])
            plain[name] = (await self._encryption.open(sealed)).decode()
        return plain

    async def _enter(self, caller: Caller, action: str, target: str) -> None:
        try:
            require(caller, Role.ADMIN)
        except NotAllowed as refused:
            await self._audit.not_allowed(caller, refused, action, target)
            raise


def _encoded(value: str) -> bytes:
    try:
        plain = value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("value", "contains half a surrogate pair") from error
    if len(plain) > VALUE_BYTES:
        raise InvalidInput("value", f"is longer than {VALUE_BYTES} bytes in UTF-8")
    if b"\0" in plain:
        raise InvalidInput("value", "contains a NUL character")
    return plain
