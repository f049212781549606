"""Encrypts values at rest: AES-256-GCM, each bound to what it belongs to, under one master key.

The key is in a file of its own beside the store (or given by setting), so that a copy of the
database alone gives nothing away. It is made when the first value is sealed and never overwritten;
a store that has sealed values while the key is missing or another one is refused, since going on
with a new key would lose them for good.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from taskyard.core.errors import Unavailable
from taskyard.core.ids import WorkspaceName
from taskyard.ports.access import EncryptedValue

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_AGREED: Final = "key"
"""What is sealed to tell whether planes have the same key."""


class SecretKeyMissing(Unavailable):
    """The store holds encrypted values, but the key they were encrypted with is not there."""


class SecretKeyWrong(Unavailable):
    """The key is not the one that the store's values were encrypted with, or cannot be read."""


class KeySource(Protocol):
    """Where the master key comes from. Both calls may block."""

    def read(self) -> bytes | None:
        """The key; None if there is none yet. Raises :class:`SecretKeyWrong`."""
        ...

    def create(self) -> bytes:
        """Create a key durably and return it; return the existing one if there is one by now."""
        ...


class KeyFile:
    """The master key as a file that its owner alone can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """See :class:`KeySource`."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretKeyWrong(f"the key file cannot be read: {error}") from error
        return decode_key(content, str(self._path))

    def create(self) -> bytes:
        """See :class:`KeySource`. Written aside and linked into place: there is never half a key,
        and never one that replaces another.
        """
        key = secrets.token_bytes(KEY_BYTES)
        beside = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(key) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, self._path)
        except FileExistsError:
            present = self.read()
            if present is None:
                raise SecretKeyWrong("the key file vanished while it was being made") from None
            return present
        finally:
            beside.unlink()
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return key


class GivenKey:
    """The master key as a setting: base64 of 32 bytes."""

    def __init__(self, text: str) -> None:
        """Raises :class:`SecretKeyWrong` if it is not that."""
        self._key = decode_key(text.encode(), "the given secret key")

    def read(self) -> bytes | None:
        """See :class:`KeySource`."""
        return self._key

    def create(self) -> bytes:
        """See :class:`KeySource`."""
        return self._key


class Encryption:
    """Seals and opens values once the key was found to fit the store."""

    def __init__(
        self, source: KeySource, sample: Callable[[], Awaitable[EncryptedValue | None]]
    ) -> None:
        """Prepare; ``sample`` answers with any sealed value of the store, to try the key on."""
        self._source = source
        self._sample = sample
        self._cipher: AESGCM | None = None
        self._key = b""
        self._loading = anyio.Lock()

    async def check(self) -> None:
        """Refuse to go on with a key that is missing or wrong; for the start of a server.

        Raises :class:`SecretKeyMissing` or :class:`SecretKeyWrong`. Makes no key.
        """
        await self._load(create=False)

    async def agree(self, claim: Callable[[bytes | None], Awaitable[bytes | None]]) -> None:
        """Have the key that the other control planes of the installation have.

        Args:
            claim: keeps what it is given beside the store, unless something is kept there already,
                and answers with what is kept.

        Raises:
            SecretKeyMissing: there is no key here, and the others have one.
            SecretKeyWrong: the others have another one.
        """
        kept = await claim(None)
        if kept is None:
            kept = await claim(await self.seal(_AGREED, WorkspaceName(""), "", _AGREED.encode()))
        elif await self._load(create=False) is None:
            raise SecretKeyMissing(
                "this control plane has not got the key of its installation's secrets; copy"
                " secret.key from another one's data directory into its own, or give the key by"
                " setting (secret_key)"
            )
        if kept is None:
            raise SecretKeyWrong("what tells keys apart was not kept; start again")
        try:
            await self.open(EncryptedValue(_AGREED, WorkspaceName(""), "", kept))
        except SecretKeyWrong as error:
            raise SecretKeyWrong(
                "the key of this control plane is not that of its installation's secrets; replace"
                " its secret.key by another one's, or give the right key by setting (secret_key)"
            ) from error

    async def seal(self, kind: str, workspace: WorkspaceName, name: str, value: bytes) -> bytes:
        """The value encrypted, for this owner only. Raises as :meth:`check`."""
        cipher = await self._load(create=True)
        if cipher is None:
            raise SecretKeyMissing
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + cipher.encrypt(nonce, value, _owner(kind, workspace, name))

    async def open(self, sealed: EncryptedValue) -> bytes:
        """The plain value. Raises as :meth:`check`."""
        cipher = await self._load(create=False)
        if cipher is None:
            raise SecretKeyMissing
        return _open(cipher, sealed)

    async def derive(self, purpose: str) -> bytes:
        """32 bytes for another purpose, which all control planes with the same key have alike.

        They tell nothing about the key, nor about those for other purposes. Raises as
        :meth:`check`; makes a key if there is none.
        """
        if await self._load(create=True) is None:
            raise SecretKeyMissing
        return derived(self._key, purpose)

    async def _load(self, *, create: bool) -> AESGCM | None:
        if self._cipher is not None:
            return self._cipher
        async with self._loading:
            if self._cipher is None:
                key = await anyio.to_thread.run_sync(self._source.read)
                sample = await self._sample()
                if key is None and sample is not None:
                    raise SecretKeyMissing(
                        "the store holds secrets, but their key is missing; "
                        "put the file secret.key back or give the key by setting"
                    )
                if key is None:
                    if not create:
                        return None
                    key = await anyio.to_thread.run_sync(self._source.create)
                cipher = AESGCM(key)
                if sample is not None:
                    _open(cipher, sample)
                self._cipher, self._key = cipher, key
            return self._cipher


def derived(key: bytes, purpose: str) -> bytes:
    """See :meth:`Encryption.derive`."""
    info = f"taskyard\0derived\0{purpose}".encode()
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(key)


def decode_key(text: bytes, where: str) -> bytes:
    """The key behind its base64 text. Raises :class:`SecretKeyWrong`, without quoting it."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretKeyWrong(f"{where} is not base64 of {KEY_BYTES} bytes")
    return key


def _open(cipher: AESGCM, sealed: EncryptedValue) -> bytes:
    version, rest = sealed.value[:1], sealed.value[1:]
    nonce, text = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
    if version != _VERSION:
        raise SecretKeyWrong(f"a {sealed.kind} was sealed by a newer version of Taskyard")
    try:
        return cipher.decrypt(nonce, text, _owner(sealed.kind, sealed.workspace, sealed.name))
    except (InvalidTag, ValueError) as error:
        raise SecretKeyWrong(
            f"the {sealed.kind} {sealed.name!r} of {sealed.workspace} does not open with this key"
        ) from error


def _owner(kind: str, workspace: WorkspaceName, name: str) -> bytes:
    return f"taskyard\0{kind}\0{workspace}\0{name}".encode()
