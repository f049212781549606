"""Addresses of log servers, tags, and how a message begins."""

import re

import pytest

from taskyard.core.syslog import TAG_LIMIT, header, parse_server, problem_of_tag


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("log", "udp://log:514"),
        ("log.example:601", "udp://log.example:601"),
        ("udp://log.example", "udp://log.example:514"),
        ("tcp://10.0.0.1:601/", "tcp://10.0.0.1:601"),
        ("tcp://[2001:DB8::1]:601", "tcp://[2001:db8::1]:601"),
        ("[::1]", "udp://[::1]:514"),
    ],
)
def test_servers_are_written_in_several_ways(text: str, meant: str) -> None:
    """With and without protocol and port; what is meant can be read again."""
    assert str(parse_server(text)) == meant
    assert parse_server(meant) == parse_server(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":514",
        "log:",
        "log:0",
        "log:65536",
        "log:x",
        "log:514:1",
        "udp://",
        "udp://log:514/path",
        "udp://user@log:514",
        "tcp+tls://log:514",
        "unix:///dev/log",
        "unixgram:///dev/log",
        "http://log",
        "/dev/log",
        "a b",
        "log\n",
        "log\0",
        "-log",
        "log-",
        "::1",
        "[::1",
        "[1.2.3]:514",
        "lög",
        "x" * 300,
    ],
)
def test_what_is_no_server(text: str) -> None:
    """It is said what would be one."""
    with pytest.raises(
        ValueError, match=r"must be HOST|is not a valid host|invalid port|unknown protocol|address"
    ):
        parse_server(text)


def test_tags_are_printable() -> None:
    """So that nobody can forge the beginning of a message."""
    assert problem_of_tag("") is None
    assert problem_of_tag("a-TI.1[x]") is None
    for tag in ("a b", "a\nb", "ä", "\0", "a" * (TAG_LIMIT + 1)):
        assert problem_of_tag(tag) is not None


def test_messages_begin_as_rfc_3164_says() -> None:
    """Facility daemon; informational, or an error; the host's own name; a day of two characters."""
    begin = header(1_700_000_000, "host.example", "tag", is_error=False).decode()
    assert re.fullmatch(r"<30>Nov 1[45] \d\d:\d\d:\d\d host tag: ", begin)
    begin = header(1_701_561_600, "", "tag", is_error=True).decode()
    assert re.fullmatch(r"<27>Dec  [234] \d\d:\d\d:\d\d - tag: ", begin)
