"""Hosts and origins: one form for comparison, and the names that a server answers to."""

import pytest

from taskyard.dialects.http.origins import (
    AllowedHosts,
    Authority,
    Origin,
    parse_authority,
    parse_origin,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Example.COM", Authority("example.com", None)),
        ("example.com.:80", Authority("example.com", 80)),
        ("example.com:", Authority("example.com", None)),
        ("[::1]:8000", Authority("::1", 8000)),
        ("[0:0::0:1]", Authority("::1", None)),
        ("::1", None),
        ("[::1", None),
        ("[evil]:80", None),
        ("a:b", None),
        ("a:65536", None),
        ("a:80:80", None),
        ("", None),
        (".", None),
        ("a b", None),
        ("user@a", None),
        ("a/b", None),
        ('a"><script>', None),
        ("a\n", None),
        ("ex\u00e4mple", None),
    ],
)
def test_authorities_have_one_form(text: str, wanted: Authority | None) -> None:
    """Case, a final dot and the ways to write an address do not matter; all else is refused."""
    assert parse_authority(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://App.example", Origin("https", "app.example", 443)),
        ("HTTP://a:8000", Origin("http", "a", 8000)),
        ("http://[::1]:1", Origin("http", "::1", 1)),
        ("null", None),
        ("file://", None),
        ("chrome-extension://abc", None),
        ("https://a/", None),
        ("https://a@b", None),
        ("https://a\\@b", None),
        ("https://", None),
        ("", None),
    ],
)
def test_origins_have_one_form(text: str, wanted: Origin | None) -> None:
    """With the default port of the scheme; what is no page's origin is none."""
    assert parse_origin(text) == wanted


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("localhost:8000", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1:1", True),
        ("[::1]", True),
        ("203.0.113.9", True),  # an address cannot be rebound
        ("tasks.example.com:443", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("evilexample.org", False),
        ("tasks.example.com.evil.test", False),
        ("evil.test", False),
        ("127.1", False),
        ("2130706433", False),
        ("127.0.0.1.evil.test", False),
        ("localhost.evil.test", False),
    ],
)
def test_names_are_known_or_refused(host: str, is_known: bool) -> None:
    """Loopback names, addresses and what the operator names; asked twice, as the answer is kept."""
    hosts = AllowedHosts(["Tasks.example.com.", "*.example.org"])
    for _ in range(2):
        assert (hosts.known(host.encode()) is not None) is is_known


def test_any_name_is_known_if_the_operator_says_so() -> None:
    """``*``; what is no host at all stays refused."""
    hosts = AllowedHosts(["*"])
    assert hosts.known(b"anything.test") is not None
    assert hosts.known(b'"><script>') is None


def test_memory_of_hosts_is_bounded() -> None:
    """However many names a client makes up."""
    hosts = AllowedHosts(["*"])
    for number in range(1000):
        assert hosts.known(b"h%d.test" % number) is not None
    assert len(hosts._known) <= 256
