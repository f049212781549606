"""Settings of messages between control planes: the table ``[nats]``."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

from taskyard.core.access.redaction import RedactedStruct
from taskyard.core.errors import InvalidInput
from taskyard.transport.nats.options import NatsOptions, TlsFiles, nats_options

_CREDENTIALS: Final = re.compile(r"(^|//|,)[^@/,]*@")


class NatsSettings(RedactedStruct, frozen=True, forbid_unknown_fields=True):
    """Where NATS is, or that a server of our own is started."""

    url: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Addresses of its servers, separated by commas: ``nats://HOST:4222``, ``tls://HOST:4222``;
    with ``USER:PASSWORD@`` or ``TOKEN@`` in front of the host."""
    password: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Password of the user named in the address, or the token where it names none."""
    credentials: Path | None = None
    """File with a user's JWT and seed, as ``nsc`` writes it."""
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

    def options(self, table: str = "nats") -> NatsOptions:
        """How to connect to ``url``. Raises ``InvalidInput``."""
        return nats_options(
            self.url or "",
            table=table,
            tls=TlsFiles(self.tls_ca, self.tls_cert, self.tls_key),
            credentials=self.credentials,
            password=self.password,
        )

    def listen_address(self, table: str = "nats") -> tuple[str, int]:
        """Host and port of our own server. Raises ``InvalidInput``."""
        host, _, port = self.listen.rpartition(":")
        if int(port) > 65535:
            raise InvalidInput(f"{table}.listen", "must be HOST:PORT with a port up to 65535")
        return host.removeprefix("[").removesuffix("]"), int(port)
