"""Certificates of listeners of our own that only our own programs use, and who signs them.

The authority is made from the installation's key: all control planes have the same one, down to
the last byte, and none has to be given to another. Workers get it along with their credential.
"""

import contextlib
import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.x509 import Certificate, GeneralName, KeyUsage, Name

VALID_DAYS: Final = 3650
RENEW_DAYS: Final = 365
"""A certificate that is valid for less than this is made again."""
AUTHORITY_FROM: Final = datetime(2025, 1, 1, tzinfo=UTC)
AUTHORITY_UNTIL: Final = datetime(2125, 1, 1, tzinfo=UTC)
"""Fixed, so that it is the same wherever and whenever it is made."""
_SERIAL: Final = 1


class Authority:
    """Signs certificates of one installation."""

    def __init__(self, seed: bytes) -> None:
        """That of a seed of 32 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - slow to load
            Ed25519PrivateKey,
        )

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._certificate = _authority(self._key)
        self.pem: Final = _pem(self._certificate)
        """Its own certificate, for those who are to trust it."""

    def ensure_certificate(self, certificate: Path, key: Path, names: Iterable[str]) -> None:
        """Have a certificate for these hosts and addresses in its file; a good one stays.

        Raises ``OSError``.
        """
        from cryptography import x509  # noqa: PLC0415 - slow to load
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

        wanted = [_general_name(name) for name in dict.fromkeys(names)]
        with contextlib.suppress(
            OSError, ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature
        ):
            present = x509.load_pem_x509_certificate(certificate.read_bytes())
            present.verify_directly_issued_by(self._certificate)
            there = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            left = present.not_valid_after_utc - datetime.now(UTC)
            if list(there) == wanted and key.is_file() and left.days >= RENEW_DAYS:
                return
        private = ec.generate_private_key(ec.SECP256R1())
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        text = private.private_bytes(pem, form, serialization.NoEncryption()).decode("ascii")
        write_private(key, text)
        write_private(certificate, _pem(self._signed(private.public_key(), wanted)))

    def _signed(self, public: object, names: "list[GeneralName]") -> "Certificate":
        from cryptography import x509  # noqa: PLC0415 - slow to load
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above
        from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415 - as above

        assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101 - made above
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name("Taskyard NATS server"))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, None)
        )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, as a whole or not at all. Raises ``OSError``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.touch(mode=0o600)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _authority(key: "Ed25519PrivateKey") -> "Certificate":
    from cryptography import x509  # noqa: PLC0415 - slow to load

    name, public = _name("Taskyard authority"), key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(_SERIAL)
        .not_valid_before(AUTHORITY_FROM)
        .not_valid_after(AUTHORITY_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, None)
    )


def _name(text: str) -> "Name":
    from cryptography import x509  # noqa: PLC0415 - slow to load

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> "KeyUsage":
    from cryptography import x509  # noqa: PLC0415 - slow to load

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: "Certificate") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - as above

    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _general_name(name: str) -> "GeneralName":
    from cryptography import x509  # noqa: PLC0415 - slow to load

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
