"""Settings of messages between control planes: the table ``[nats]``."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.transport.nats.nkeys import KeyPair
from taskyard.transport.nats.options import NatsOptions, Server, TlsFiles, nats_options

_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared only
_CREDENTIALS: Final = re.compile(r"(^|//|,)[^@/,]*@")


class NatsSettings(RedactedStruct, frozen=True, forbid_unknown_fields=True):
    """Where NATS is, or that a server of our own is started."""

    url: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Addresses of its servers, separated by commas: ``nats://HOST:4222``, ``tls://HOST:4222``;
    with ``USER:PASSWORD@`` or ``TOKEN@`` in front of the host."""
    password: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Password of the user named in the address, or the token where it names none."""
    credentials: Path | None = None
    """File with a user's JWT and seed, as ``nsc`` writes it, or with the seed of an NKey alone."""
    tls_ca: Path | None = None
    """PEM file of who signs the certificate of a server that is reached over TLS."""
    tls_cert: Path | None = None
    """PEM file of our own certificate for it."""
    tls_key: Path | None = None
    """PEM file of the key of that."""
    serve: bool = False
    """Start a ``nats-server`` beside this control plane, and stop it along with it."""
    listen: Annotated[str, Meta(pattern=r"^[^\s@/]+:[0-9]{1,5}$")] = "127.0.0.1:4222"
    """Address of that server; with TLS unless it is a loopback address."""
    advertise: tuple[
        Annotated[str, Meta(pattern=r"^[^\s@/,]{1,255}$")],
        ...,
    ] = ()
    """Where workers on other machines reach NATS, each ``HOST`` or ``HOST:PORT``, if not at the
    addresses above."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The members without secrets, also those that stand in the address."""
        return [
            (name, _CREDENTIALS.sub(r"\1***@", value) if name == "url" and value else value)
            for name, value in super().__rich_repr__()
        ]

    def check(self, table: str) -> None:
        """Raise ``InvalidInput`` for members that do not go together, or cannot be used."""
        if self.serve and self.url is not None:
            raise InvalidInput(
                f"{table}.serve",
                "starts a server of its own, so it does not go together with an address of another "
                f"one ({table}.url); leave one of them out",
            )
        if self.url is not None:
            self.options(table)
        elif self.password is not None and not self.serve:
            raise InvalidInput(f"{table}.password", f"needs {table}.url")
        self.listen_address(table)
        self._advertised()

    def options(
        self, table: str = "nats", *, key: KeyPair | None = None, ca_pem: str | None = None
    ) -> NatsOptions:
        """How to connect to ``url``; see ``nats_options``. Raises ``InvalidInput``."""
        return nats_options(
            self.url or "",
            table=table,
            tls=TlsFiles(self.tls_ca, self.tls_cert, self.tls_key),
            credentials=self.credentials,
            password=self.password,
            ca_pem=ca_pem,
            key=key,
        )

    def served_hosts(self) -> tuple[str, ...]:
        """Names and addresses that our own server is reached at, for its certificate."""
        host, _ = self.listen_address()
        own = own_addresses(":" in host) if host in _ANY else ()
        return (host, *own, *(host for host, _ in self._advertised()))

    def join_urls(self, servers: Sequence[Server]) -> tuple[str, ...]:
        """Where workers connect to: as the setting says, else to what this control plane does.

        A server of our own that listens on all addresses is reached at those of this machine.
        """
        scheme, port = "tls" if any(one.tls for one in servers) else "nats", servers[0].port
        urls = [one.url for one in servers]
        host, _ = self.listen_address()
        if self.serve and host in _ANY:
            urls = [_url(scheme, one, port) for one in own_addresses(":" in host)]
        given = [_url(scheme, host, own or port) for host, own in self._advertised()]
        return tuple(given or urls)

    def _advertised(self) -> list[tuple[str, int | None]]:
        found: list[tuple[str, int | None]] = []
        for text in self.advertise:
            host, colon, port = text.rpartition(":")
            if not colon or text.endswith("]") or (":" in host and not host.endswith("]")):
                host, port = text, ""
            if port and not (port.isdecimal() and 0 < int(port) <= 65535):
                raise InvalidInput("nats.advertise", f"{text!r} must be HOST or HOST:PORT")
            bare = host.removeprefix("[").removesuffix("]")
            found.append((bare, int(port) if port else None))
        return found

    def listen_address(self, table: str = "nats") -> tuple[str, int]:
        """Host and port of our own server. Raises ``InvalidInput``."""
        host, _, port = self.listen.rpartition(":")
        if int(port) > 65535:
            raise InvalidInput(f"{table}.listen", "must be HOST:PORT with a port up to 65535")
        return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a listener on this address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_addresses(with_ipv6: bool) -> list[str]:
    """Addresses that other machines may reach this one at; its name if there are none."""
    found: list[str] = []
    families = [(socket.AF_INET, "192.0.2.1")]
    if with_ipv6:
        families.append((socket.AF_INET6, "2001:db8::1"))
    for family, elsewhere in families:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                # Sends nothing: it only tells which address would be used.
                probe.connect((elsewhere, 9))
                found.append(probe.getsockname()[0])
        except OSError:
            continue
    return [one for one in found if not is_loopback(one)] or [socket.gethostname()]


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
