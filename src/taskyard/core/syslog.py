"""Lines for log servers: where those are, and what a line looks like on its way (RFC 3164)."""

import re
import time
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

DEFAULT_PORT: Final = 514
TEXT_LIMIT: Final = 7 << 10
"""Bytes of one message; a longer line becomes several. Servers take 8 KiB unless told otherwise."""
TAG_LIMIT: Final = 256
_URL: Final = re.compile(
    r"(?:(?P<protocol>[a-z0-9+]+)://)?(?P<host>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?\Z",
    re.ASCII,
)
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z", re.ASCII)
_TAG: Final = re.compile(r"[!-~]*\Z")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_INFO: Final = 30
"""Facility "daemon", severity "informational"."""
_ERROR: Final = 27
"""Facility "daemon", severity "error"."""


class Protocol(StrEnum):
    """How messages travel."""

    UDP = "udp"
    TCP = "tcp"


class SyslogServer(NamedTuple):
    """A log server."""

    protocol: Protocol
    host: str
    """Name or address, without brackets."""
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}://{self.authority}"

    @property
    def authority(self) -> str:
        """``HOST:PORT``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_server(text: str) -> SyslogServer:
    """``[udp://|tcp://]HOST[:PORT]``. Raises ``ValueError`` that says what is wrong."""
    found = _URL.match(text)
    if found is None:
        raise ValueError("must be HOST:PORT, udp://HOST:PORT or tcp://HOST:PORT")
    protocol = found["protocol"] or Protocol.UDP.value
    if protocol not in set(Protocol):
        raise ValueError(f"has the unknown protocol {protocol!r}; use udp or tcp")
    port = DEFAULT_PORT if found["port"] is None else int(found["port"])
    if not 1 <= port <= 65_535:
        raise ValueError("has an invalid port; expected 1 to 65535")
    host = found["host"]
    if host.startswith("["):
        host = str(ip_address(host[1:-1]))
    elif not _HOST.match(host):
        raise ValueError(f"{host!r} is not a valid host name")
    return SyslogServer(Protocol(protocol), host, port)


def problem_of_tag(tag: str) -> str | None:
    """What is wrong with a tag; None if nothing is."""
    if len(tag) > TAG_LIMIT:
        return f"has more than {TAG_LIMIT} characters"
    if not _TAG.match(tag):
        return "may have printable ASCII characters without spaces only"
    return None


def header(at_s: int, hostname: str, tag: str, *, is_error: bool) -> bytes:
    """What goes before the text of a message; ``at_s`` is the time in seconds since 1970."""
    name = f"{hostname.partition('.')[0] or '-'} {tag}: "
    priority = _ERROR if is_error else _INFO
    return f"<{priority}>{_timestamp(at_s)} {name}".encode("ascii", errors="replace")


@lru_cache(maxsize=4)
def _timestamp(at_s: int) -> str:
    local = time.localtime(at_s)
    clock = time.strftime("%H:%M:%S", local)
    return f"{_MONTHS[local.tm_mon - 1]} {local.tm_mday:2d} {clock}"
