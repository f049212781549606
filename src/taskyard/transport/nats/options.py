"""Where NATS is and how to get in: read from settings and checked; secrets are never shown."""

import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.transport.nats.nkeys import KeyPair

PORT: Final = 4222
LEAST_BYTES: Final = 16 << 10
"""What a server has to take in one message."""
_CREDENTIALS_BYTES: Final = 64 << 10
_SEED: Final = re.compile(r"SU[A-Z2-7]{56}")
_JWT_AND_SEED: Final = re.compile(
    r"BEGIN NATS USER JWT-+\r?\n[\w.-]+\s.*BEGIN USER NKEY SEED-+\r?\nSU[A-Z2-7]{56}\s", re.DOTALL
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Server(RedactedStruct, frozen=True):
    """One NATS server."""

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = None
    token: str | None = None

    @property
    def is_anonymous(self) -> bool:
        """Whether no user, password or token is given for it."""
        return self.user is None and self.password is None and self.token is None

    @property
    def url(self) -> str:
        """Its address without any credential, for messages and the log."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


class TlsFiles(Struct, frozen=True):
    """PEM files for TLS."""

    ca: Path | None = None
    """Who signs the server's certificate; the system's authorities when None."""
    cert: Path | None = None
    """Our own certificate."""
    key: Path | None = None
    """Its key."""


NO_FILES: Final = TlsFiles()


class NatsOptions(RedactedStruct, frozen=True):
    """All that is needed to connect."""

    servers: tuple[Server, ...]
    """One is enough; all of them are of one cluster."""
    tls: ssl.SSLContext | None = None
    """For those that want TLS."""
    credentials: Path | None = None
    """File with a user's JWT and its seed, as ``nsc`` writes it."""
    seed: Path | None = None
    """File with the seed of a user's NKey alone."""
    key: KeyPair | None = None
    """Proves who we are to servers for which nothing else is given, if they ask for a key."""


def nats_options(
    urls: str,
    *,
    table: str = "nats",
    tls: TlsFiles = NO_FILES,
    credentials: Path | None = None,
    password: str | None = None,
    ca_pem: str | None = None,
    key: KeyPair | None = None,
) -> NatsOptions:
    """Read the addresses of one or more servers, separated by commas.

    Args:
        urls: each ``nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]``, or with ``tls://``.
        table: the table of settings to name in errors.
        tls: files for TLS.
        credentials: file with a JWT and a seed, or with a seed alone.
        password: of users that are named without one; the token where no user is named.
        ca_pem: who else may sign the server's certificate, where no file says who does.
        key: proves who we are where no user, token or file with credentials is given.

    Raises:
        InvalidInput: names the setting, says what is wrong, and shows no credential.
    """
    servers = tuple(_server(text.strip(), f"{table}.url", password) for text in urls.split(","))
    if (tls.cert is None) != (tls.key is None):
        raise InvalidInput(f"{table}.tls_key", f"goes together with {table}.tls_cert")
    has_jwt = credentials is not None and _has_jwt(credentials, f"{table}.credentials")
    context = None
    if tls != NO_FILES or any(one.tls for one in servers):
        context = _context(tls, table)
        if ca_pem is not None and tls.ca is None:
            _trust(context, ca_pem)
    if credentials is None:
        return NatsOptions(servers, context, key=key)
    if has_jwt:
        return NatsOptions(servers, context, credentials)
    return NatsOptions(servers, context, seed=credentials)


def _trust(context: ssl.SSLContext, ca_pem: str) -> None:
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput("nats", f"has a certificate that cannot be used: {error}") from error


def check_token(kind: str, text: str) -> str:
    """A name that can be part of a subject. Raises ``InvalidInput`` naming ``kind``."""
    if _TOKEN.fullmatch(text) is None:
        raise InvalidInput(kind, f"{text!r} is not 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return text


def _has_jwt(path: Path, setting: str) -> bool:
    """Whether a file holds a JWT and a seed, not a seed alone. Raises ``InvalidInput``.

    The library looks for a JWT until it finds one, without end.
    """
    if not path.is_file():
        raise InvalidInput(setting, f"{path} is not a file")
    try:
        with path.open("rb") as file:
            text = file.read(_CREDENTIALS_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise InvalidInput(setting, f"{path} cannot be read: {error.strerror}") from error
    if _JWT_AND_SEED.search(text) is not None:
        return True
    if _SEED.fullmatch(text.strip()) is not None:
        return False
    raise InvalidInput(
        setting,
        f"{path} holds neither a user's JWT with its seed, as nsc writes them, nor the seed of a"
        " user's NKey (SU…) alone",
    )


def _server(text: str, setting: str, password: str | None) -> Server:
    form = "is not an address such as nats://HOST:4222 or tls://HOST:4222"
    if "://" not in text:
        text = f"nats://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port or PORT
    except ValueError:
        raise InvalidInput(setting, form) from None
    if parts.scheme not in {"nats", "tls"} or not parts.hostname:
        raise InvalidInput(setting, form)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InvalidInput(setting, f"{form}: remove what comes after the port")
    user = None if parts.username is None else unquote(parts.username)
    given = None if parts.password is None else unquote(parts.password)
    token = None
    if user is None:
        token = password
    elif given is None:
        user, given, token = (user, password, None) if password else (None, None, user)
    return Server(parts.hostname, port, parts.scheme == "tls", user, given, token)


def _context(files: TlsFiles, table: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"{table}.tls_ca", f"{files.ca} cannot be used: {error}") from error
    if files.cert is not None:
        try:
            context.load_cert_chain(files.cert, files.key)
        except (OSError, ssl.SSLError) as error:
            text = f"{files.cert} with its key cannot be used: {error}"
            raise InvalidInput(f"{table}.tls_cert", text) from error
    return context
