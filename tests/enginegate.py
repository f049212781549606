"""A way to an engine's Unix socket over TCP or TLS, and the certificates for it."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_BLOCK: Final = 1 << 16
_HANDSHAKE_S: Final = 10.0


class Authority:
    """Signs certificates; its files lie in one directory."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(self._own(), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def certify(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate for ``127.0.0.1``, good for both sides, and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        host = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
        made = (
            _builder(_name(name), self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([host]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        cert, secret = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert, secret

    def _own(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )


class Gate:
    """Takes TCP connections and passes them on to a Unix socket.

    A client that ends its direction ends that of the engine's connection only, as standard input
    needs it; the end of the engine's direction ends all.
    """

    def __init__(self, target: Path, context: ssl.SSLContext | None) -> None:
        self._target = str(target)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """Take no more connections, and leave alone what there are."""
        if self._closed:
            return
        self._closed = True
        # What waits in accept does not wake up for a close.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def close(self) -> None:
        """Break every connection and take no more."""
        self.refuse()
        self.cut()

    def cut(self) -> None:
        """Break every connection."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError))
            stack.callback(client.close)
            if self._context is not None:
                client.settimeout(_HANDSHAKE_S)
                client = self._context.wrap_socket(client, server_side=True)
                stack.callback(client.close)
                client.settimeout(None)
            engine = stack.enter_context(socket.socket(socket.AF_UNIX))
            engine.connect(self._target)
            with self._lock:
                self._open |= {client, engine}
            try:
                back = threading.Thread(target=self._forth, args=(client, engine), daemon=True)
                back.start()
                _pump(engine, client)
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(client, socket.SHUT_RDWR)
                back.join(10)
            finally:
                with self._lock:
                    self._open -= {client, engine}

    def _forth(self, client: socket.socket, engine: socket.socket) -> None:
        _pump(client, engine)
        with contextlib.suppress(OSError):
            engine.shutdown(socket.SHUT_WR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_BLOCK):
            target.sendall(data)


@contextlib.contextmanager
def gate(target: Path, context: ssl.SSLContext | None = None) -> Iterator[Gate]:
    """An open gate."""
    found = Gate(target, context)
    try:
        yield found
    finally:
        found.close()


@contextlib.contextmanager
def tls_gate(target: Path, authority: Authority) -> Iterator[Gate]:
    """A gate that lets in whoever has a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certify("server"))
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    with gate(target, context) as found:
        yield found
