"""Output as text messages."""

from base64 import b64decode
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.ports.logs import Stream
from taskyard.services.tasks.followed import Output
from taskyard.services.tasks.log_text import LogText, OutputMessage, unfinished

OUT, ERR = Stream.STDOUT, Stream.STDERR


def raw(message: OutputMessage) -> bytes:
    """The bytes a message stands for."""
    if message.text is not None:
        assert message.base64 is None
        return message.text.encode()
    assert message.base64 is not None
    return b64decode(message.base64)


def send(data: bytes, cuts: list[int]) -> list[OutputMessage]:
    """Messages for data that arrives cut at these places."""
    text = LogText()
    messages: list[OutputMessage] = []
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in pairwise(edges):
        messages += text.feed(Output(OUT, begin, data[begin:end], 1))
    return messages + text.flush()


@given(data=st.binary(max_size=80), cuts=st.lists(st.integers(0, 80), max_size=8))
def test_messages_carry_every_byte_in_order(data: bytes, cuts: list[int]) -> None:
    """Whatever the bytes are and however they arrive."""
    messages = send(data, cuts)
    assert b"".join(raw(message) for message in messages) == data
    offset = 0
    for message in messages:
        assert message.offset == offset
        offset = message.next_offset
        assert offset - message.offset == len(raw(message)) > 0


@given(text=st.text(max_size=40), cuts=st.lists(st.integers(0, 80), max_size=8))
def test_text_stays_text_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    """No character is ever cut in two."""
    messages = send(text.encode(), cuts)
    assert "".join(message.text or "" for message in messages) == text


def test_bytes_that_are_no_text_do_not_spoil_their_neighbours() -> None:
    """Only what cannot be text is base64, also where a reader comes in amid a character."""
    messages = send("é".encode()[1:] + b"ok\n\xff\xfe then \xc3", [])
    assert [raw(message) for message in messages] == [
        b"\xa9",
        b"ok\n",
        b"\xff\xfe",
        b" then ",
        b"\xc3",
    ]
    assert [message.text for message in messages] == [None, "ok\n", None, " then ", None]


def test_binary_output_does_not_become_countless_messages() -> None:
    """A chunk of noise is a few messages at most."""
    noise = b"\xff\xffa\xffb" * 10_000
    messages = send(noise, [])
    assert len(messages) <= 33
    assert b"".join(raw(message) for message in messages) == noise


def test_streams_are_held_back_apart() -> None:
    """Half a character of one stream does not mix with the other."""
    text = LogText()
    assert text.feed(Output(OUT, 5, b"\xe2\x82", 2)) == []
    (other,) = text.feed(Output(ERR, 0, b"x", 2))
    assert (other.text, other.stream) == ("x", ERR)
    (euro,) = text.feed(Output(OUT, 7, b"\xac", 2))
    assert (euro.text, euro.offset, euro.next_offset) == ("€", 5, 8)
    assert text.flush() == []


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"", 0),
        (b"a", 0),
        (b"\xe2\x82\xac", 0),
        (b"a\xe2\x82", 2),
        (b"\xf0\x9f\x98", 3),
        (b"\xf0", 1),
        (b"\x80\x80\x80\x80", 0),
        (b"\xff", 0),
        (b"\xc3a", 0),
    ],
)
def test_unfinished_characters_are_recognized(data: bytes, length: int) -> None:
    """Only what more bytes could complete counts."""
    assert unfinished(data) == length


def test_messages_encode_as_the_api_says() -> None:
    """Members that do not apply are left out."""
    (message,) = send(b"hello\n", [])
    assert msgspec.json.decode(msgspec.json.encode(message)) == {
        "type": "output",
        "attempt": 1,
        "stream": "stdout",
        "offset": 0,
        "next_offset": 6,
        "text": "hello\n",
    }
