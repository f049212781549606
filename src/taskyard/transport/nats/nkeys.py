"""NATS's keys: Ed25519, written as base32 with what they are for and a checksum.

Only what we need of them: keys made from seeds of our own, signatures, and checking others'.
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth
"""

import base64
import binascii
import struct
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_BYTES: Final = 32
TEXT_CHARACTERS: Final = 56


class Kind(IntEnum):
    """What a key is for; the first letter of its text."""

    ACCOUNT = 0
    SERVER = 13 << 3
    USER = 20 << 3


class KeyPair:
    """A key that signs; its private half is shown nowhere."""

    __slots__ = ("_private", "public")

    def __init__(self, kind: Kind, seed: bytes) -> None:
        """The key of a seed of 32 bytes."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public: Final = encode(kind, raw)
        """Its public half as text."""

    def __repr__(self) -> str:
        """Its public half."""
        return f"KeyPair({self.public})"

    def sign(self, data: bytes) -> bytes:
        """A signature."""
        return self._private.sign(data)


def encode(kind: Kind, raw: bytes) -> str:
    """A public key as text."""
    data = bytes([kind]) + raw
    checksum = struct.pack("<H", binascii.crc_hqx(data, 0))
    return base64.b32encode(data + checksum).decode("ascii").rstrip("=")


def is_signed(kind: Kind, public: str, data: bytes, signature: bytes) -> bool:
    """Whether the key with this public half, which has to be of that kind, signed the data."""
    if len(public) != TEXT_CHARACTERS:
        return False
    try:
        raw = base64.b32decode(public)[1 : 1 + KEY_BYTES]
        if encode(kind, raw) != public:
            return False
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, data)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True
