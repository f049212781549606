"""Certificates that we sign ourselves, for listeners of our own that only our own programs use."""

import contextlib
import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName

VALID_DAYS: Final = 3650
RENEW_DAYS: Final = 365
"""A certificate that is valid for less than this is made again."""


def ensure_certificate(certificate: Path, key: Path, names: Iterable[str]) -> None:
    """Have a certificate for these hosts and addresses in its file; one that is good enough stays.

    It is its own authority: whoever is to trust it gets a copy of the file. Raises ``OSError``.
    """
    from cryptography import x509  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    wanted = [_general_name(name) for name in dict.fromkeys(names)]
    now = datetime.now(UTC)
    with contextlib.suppress(OSError, ValueError, x509.ExtensionNotFound):
        present = x509.load_pem_x509_certificate(certificate.read_bytes())
        there = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        left = present.not_valid_after_utc - now
        if list(there) == wanted and key.is_file() and left.days >= RENEW_DAYS:
            return
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "taskyard")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = private.private_bytes(pem, form, serialization.NoEncryption()).decode("ascii")
    write_private(key, text)
    write_private(certificate, signed.public_bytes(pem).decode("ascii"))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, as a whole or not at all. Raises ``OSError``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.touch(mode=0o600)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _general_name(name: str) -> "GeneralName":
    from cryptography import x509  # noqa: PLC0415 - slow to load

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
