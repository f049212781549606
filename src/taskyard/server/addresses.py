"""Where a server listens: ``NAME=HOST:PORT``."""

import re
from typing import Final

from msgspec import Struct

from taskyard.core.errors import InvalidInput
from taskyard.server.dialects import PREFIXES

_LISTEN: Final = re.compile(
    r"(?P<name>[a-z]+)=(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})\Z"
)


class Address(Struct, frozen=True):
    """A dialect and where it is served."""

    dialect: str
    host: str
    port: int


def parse_listen(text: str) -> Address:
    """The meaning of ``NAME=HOST:PORT``, such as ``native=127.0.0.1:9000`` or ``native=[::1]:0``.

    Raises :class:`InvalidInput` naming ``listen``; an unknown name is answered with those known.
    """
    match = _LISTEN.match(text)
    if match is None or int(match["port"]) > 65535:
        raise InvalidInput("listen", f"{text!r} must be NAME=HOST:PORT")
    if match["name"] not in PREFIXES:
        known = ", ".join(sorted(PREFIXES))
        raise InvalidInput("listen", f"unknown dialect {match['name']!r}; use one of {known}")
    return Address(match["name"], match["six"] or match["host"], int(match["port"]))


def url_of(host: str, port: int) -> str:
    """The URL at which something bound to this address can be reached from here."""
    if host in {"0.0.0.0", ""}:  # noqa: S104 - a comparison, nothing is bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
