"""Where the engine is."""

import os
import ssl
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from taskyard.core.errors import InvalidInput

OFF: Final = "off"
AUTO: Final = "auto"
USUAL_SOCKETS: Final = ("/var/run/docker.sock", "/run/podman/podman.sock")


class TlsFiles(Struct, frozen=True):
    """PEM files for engines that are reached over TLS."""

    ca: Path | None = None
    """Who may have signed the engine's certificate; the system's own when None."""
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What a connection needs. Raises :class:`InvalidInput` for files that are not right."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidInput("container_tls_ca", f"{self.ca} cannot be used: {error}") from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password=_no_password)
            except (OSError, ValueError) as error:
                text = f"{self.cert} cannot be used with the key {self.key}: {error}"
                raise InvalidInput("container_tls_cert", text) from error
        return context


def _no_password() -> str:
    """Nobody is asked for one, which would stop the server at its terminal."""
    raise ValueError("the key needs a password; keys without one only can be used")


class EngineAddress(Struct, frozen=True):
    """How to connect to an engine."""

    socket: str | None = None
    """Path of a Unix socket."""
    url: str | None = None
    """``http://HOST:PORT`` or ``https://HOST:PORT`` otherwise."""

    @property
    def is_local(self) -> bool:
        """Whether the engine is on this machine for sure."""
        return self.socket is not None

    @property
    def is_secure(self) -> bool:
        """Whether it is talked to over TLS."""
        return self.url is not None and self.url.startswith("https:")

    def __str__(self) -> str:
        """For messages."""
        return f"unix://{self.socket}" if self.socket is not None else str(self.url)


def parse_engine_address(text: str, *, tls: bool = False) -> EngineAddress:
    """Read ``unix:///PATH``, ``tcp://HOST:PORT``, ``http(s)://HOST:PORT``.

    ``tcp`` means TLS if ``tls`` (files for it are given). Raises :class:`InvalidInput`.
    """
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path.startswith("/"):
            raise InvalidInput("container_engine", "needs an absolute path behind unix://")
        return EngineAddress(socket=path)
    parts = urlsplit(text)
    try:
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise InvalidInput("container_engine", f"has no valid address: {error}") from error
    if parts.scheme not in {"tcp", "http", "https"} or not host or parts.username is not None:
        raise InvalidInput(
            "container_engine",
            "has to be auto, off, unix:///PATH, tcp://HOST:PORT, http://… or https://HOST:PORT",
        )
    secure = parts.scheme == "https" or (parts.scheme == "tcp" and tls)
    named = f"[{host}]" if ":" in host else host
    return EngineAddress(
        url=f"{'https' if secure else 'http'}://{named}:{port or (2376 if secure else 2375)}"
    )


def engine_addresses(setting: str, *, tls: bool = False) -> list[EngineAddress]:
    """The places to try, in order: the one that is set, or the usual sockets that exist.

    Looks at the file system, nothing more; costs nothing where there is no engine.
    """
    if setting == OFF:
        return []
    if setting != AUTO:
        return [parse_engine_address(setting, tls=tls)]
    # Where XDG_RUNTIME_DIR points to for whoever has one.
    own = f"/run/user/{os.getuid()}/podman/podman.sock"
    return [EngineAddress(socket=path) for path in (*USUAL_SOCKETS, own) if _is_socket(path)]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except OSError:
        return False
