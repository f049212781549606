"""Which addresses may be sent to."""

import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.notifications.addresses import parse_address, refusal

REFUSED = [
    ("0.0.0.0", "unspecified"),  # noqa: S104 - an address to refuse
    ("0.1.2.3", "unspecified"),
    ("10.0.0.1", "private"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("169.254.169.254", "link-local"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("198.18.0.1", "benchmarking"),
    ("224.0.0.1", "multicast"),
    ("255.255.255.255", "reserved"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:0:127.0.0.1", "loopback"),
    ("::ffff:0:169.254.169.254", "link-local"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a00:1", "private"),
    ("64:ff9b:1::1", "local NAT64"),
    ("64:ff9b:1:a00:0:100::", "local NAT64"),
    ("2606:4700::5efe:10.0.0.1", "private"),
    ("2606:4700::200:5efe:127.0.0.1", "loopback"),
    ("fe80::5efe:8.8.8.8", "link-local"),
    ("2002:7f00:1::", "loopback"),
    ("2002:c0a8:101::1", "private"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "special-purpose"),
    ("2001:db8::1", "documentation"),
    ("fc00::1", "private"),
    ("fd12:3456::1", "private"),
    ("fe80::1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "2606:4700::5efe:8.8.8.8",
    "2606:4700::5eff:10.0.0.1",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize(("text", "kind"), REFUSED)
def test_addresses_inside_are_refused(text: str, kind: str) -> None:
    """With the kind of their range, also when they hide inside an IPv6 address."""
    assert refusal(ip_address(text)) == kind


@pytest.mark.parametrize("text", ALLOWED)
def test_addresses_outside_are_allowed(text: str) -> None:
    """Next to the refused ranges too."""
    assert refusal(ip_address(text)) is None


def test_allowed_networks_are_exceptions() -> None:
    """For the addresses themselves and for what embeds them; no more than that."""
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert refusal(ip_address("10.1.2.3"), allowed) is None
    assert refusal(ip_address("::ffff:10.1.2.3"), allowed) is None
    assert refusal(ip_address("fd00::1"), allowed) is None
    assert refusal(ip_address("10.2.0.1"), allowed) == "private"
    assert refusal(ip_address("127.0.0.1"), allowed) == "loopback"


@given(number=st.integers(0, 2**32 - 1))
def test_embedding_changes_nothing(number: int) -> None:
    """Whatever form an IPv4 address travels in, the judgement is the same."""
    plain = refusal(IPv4Address(number))
    for base in (0xFFFF << 32, 0xFFFF << 48, 0x64FF9B << 96):
        assert refusal(IPv6Address(base | number)) == plain
    assert refusal(IPv6Address(0x2002 << 112 | number << 80)) == plain
    for interface in (0x5EFE, 0x2005EFE):
        assert refusal(IPv6Address(0x26064700 << 96 | interface << 32 | number)) == plain


WRITTEN = [
    ("127.1", "127.0.0.1"),
    ("127.0.1", "127.0.0.1"),
    ("0x7f.1", "127.0.0.1"),
    ("0X7F000001", "127.0.0.1"),
    ("2130706433", "127.0.0.1"),
    ("0177.0.0.1", "127.0.0.1"),
    ("017700000001", "127.0.0.1"),
    ("10.256", "10.0.1.0"),
    ("0", "0.0.0.0"),  # noqa: S104 - an address to refuse
    ("127.0.0.1.", "127.0.0.1"),
    ("[::1]", "::1"),
    ("::1%lo", "::1"),
    ("[fe80::1%25eth0]", "fe80::1"),
    ("::ffff:127.0.0.1%1", "::ffff:127.0.0.1"),
]
NAMES = (
    *("example.com", "localhost", "", ".", "1.2.3.4.5", "256.1", "1.256.1.1", "08.1", "0x7g.1"),
    *("4294967296", "1..2", "-1", "+1", "1_0", "١.1", "127.0.0.1 x", "9" * 5000),  # noqa: RUF001
)


@pytest.mark.parametrize(("text", "meant"), WRITTEN)
def test_addresses_are_read_as_resolvers_read_them(text: str, meant: str) -> None:
    """Short, octal and hexadecimal forms, and zones."""
    assert parse_address(text) == ip_address(meant)


@pytest.mark.parametrize("text", NAMES)
def test_names_are_no_addresses(text: str) -> None:
    """Whatever the resolver would ask somebody else about, or refuse."""
    with pytest.raises(ValueError, match=r".*"):
        parse_address(text)


@given(
    text=st.from_regex(r"(0[xX]?)?[0-9a-f]{1,11}(\.(0[xX]?)?[0-9a-f]{1,11}){0,4}", fullmatch=True)
)
def test_what_the_c_library_takes_for_an_address_is_one(text: str) -> None:
    """The very same one; nothing that it accepts is taken for a name."""
    with contextlib.suppress(OSError):
        packed = socket.inet_aton(text)
        assert parse_address(text) == IPv4Address(packed)


@given(address=st.ip_addresses())
def test_addresses_in_their_usual_form_are_themselves(address: IPv4Address | IPv6Address) -> None:
    """As resolvers return them."""
    assert parse_address(str(address)) == address


@given(address=st.ip_addresses())
def test_what_is_allowed_is_global(address: IPv4Address | IPv6Address) -> None:
    """Never laxer than the registry as the standard library knows it."""
    embeds = isinstance(address, IPv6Address) and (
        address.ipv4_mapped
        or address.sixtofour
        or int(address) >> 32 in {0x64FF9B << 64, 0xFFFF << 16}
    )
    if refusal(address) is None and not embeds:
        assert address.is_global
        assert not address.is_multicast
