"""Whom requests came from, as trusted proxies tell, and nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import Receive, Scope, Send

from taskyard.core.errors import InvalidInput
from taskyard.dialects.http.proxies import HOPS, Proxies

TRUSTED = ("127.0.0.1", "10.0.0.0/8", "fd00::/8")
CLIENT = "198.51.100.7"


def found(peer: str, *values: str, header: str = "x-forwarded-for") -> str:
    """The client that is found for a peer and the values of the header."""
    headers = [(header.encode(), value.encode("latin-1")) for value in values]
    return Proxies(TRUSTED, header).client_of(peer, headers)


@pytest.mark.parametrize(
    ("peer", "values", "client"),
    [
        ("127.0.0.1", [CLIENT], CLIENT),
        ("10.1.2.3", [f"{CLIENT}, 10.9.9.9"], CLIENT),
        ("10.1.2.3", [CLIENT, "10.9.9.9"], CLIENT),
        ("::ffff:10.1.2.3", [CLIENT], CLIENT),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        ("127.0.0.1", ["[2001:db8::5]:4711"], "2001:db8::5"),
        ("127.0.0.1", [f"{CLIENT}:4711"], CLIENT),
        # What the client wrote itself stands before what the proxy saw.
        ("127.0.0.1", [f"192.0.2.1, {CLIENT}"], CLIENT),
        ("127.0.0.1", ["192.0.2.1", CLIENT], CLIENT),
        # Nobody is believed who is not trusted.
        ("198.51.100.9", [CLIENT], "198.51.100.9"),
        ("127.0.0.2", [CLIENT], "127.0.0.2"),
        ("unix", [CLIENT], "unix"),
        # What cannot be read ends the search.
        ("127.0.0.1", [f"{CLIENT}, unknown"], "127.0.0.1"),
        ("127.0.0.1", [f"{CLIENT}, , 10.0.0.2"], "10.0.0.2"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        # Proxies all the way: the first of them.
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
    ],
)
def test_who_it_was(peer: str, values: list[str], client: str) -> None:
    """The last address before the proxies that are trusted."""
    assert found(peer, *values) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (f"for={CLIENT}", CLIENT),
        (f'for="{CLIENT}:80";proto=https', CLIENT),
        (f"by=10.0.0.1; For={CLIENT}", CLIENT),
        ('for="[2001:db8::5]:4711"', "2001:db8::5"),
        (f"for=192.0.2.1, for={CLIENT}", CLIENT),
        (f"for={CLIENT}, for=unknown", "127.0.0.1"),
        ("for=_hidden", "127.0.0.1"),
        ("by=10.0.0.1", "127.0.0.1"),
    ],
)
def test_forwarded(value: str, client: str) -> None:
    """The standard's header (RFC 7239), where it is the one that is trusted."""
    assert found("127.0.0.1", value, header="forwarded") == client
    assert Proxies(TRUSTED).client_of("127.0.0.1", [(b"forwarded", value.encode())]) == "127.0.0.1"


@given(st.lists(st.text('0123456789abcdef.:[]%,= "', max_size=60), max_size=5))
def test_nothing_breaks_it(values: list[str]) -> None:
    """Whatever stands there, an answer is found, and a stranger is never believed."""
    assert found("127.0.0.1", *values)
    assert found(CLIENT, *values) == CLIENT


def test_a_long_header_is_not_walked_for_ever() -> None:
    """So many entries are looked at, from the end."""
    assert found("127.0.0.1", ", ".join([CLIENT] + ["10.0.0.1"] * HOPS)) == "10.0.0.1"


@pytest.mark.parametrize("bad", ["", "x", "10.0.0.0/40", "10.0.0.1:80", "localhost"])
def test_what_is_no_network_is_refused(bad: str) -> None:
    """When the server starts, not when somebody comes."""
    with pytest.raises(InvalidInput, match="neither an address nor a network"):
        Proxies([bad])


@pytest.mark.anyio
async def test_applications_see_the_client() -> None:
    """Everything behind it, with no port, since nobody knows that."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        seen.append(scope["client"])

    served = Proxies(TRUSTED).resolved(app)
    headers = [(b"x-forwarded-for", CLIENT.encode())]
    for client in (("127.0.0.1", 5), ("192.0.2.1", 5), None):
        scope = {"type": "http", "client": client, "headers": headers}
        await served(scope, None, None)  # type: ignore[arg-type]  # what it looks at
    assert seen == [(CLIENT, 0), ("192.0.2.1", 5), None]
