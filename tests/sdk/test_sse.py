"""Decoding server-sent events."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.sdk import sse
from taskyard.sdk.sse import EventParser, ServerSentEvent

STREAM = (
    b": hi\n\nevent: output\nid: 1:2:3\ndata: a\ndata:b\n\n"
    b"data: \xc3\xa4\r\n\r\nevent: ping\n\nretry: 5\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    """However the bytes arrive, the messages are the same."""
    edges = [0, *sorted(cuts), len(STREAM)]
    parser = EventParser()
    found = [event for start, end in pairwise(edges) for event in parser.feed(STREAM[start:end])]
    assert found == [
        ServerSentEvent("ping"),
        ServerSentEvent("output", "a\nb", "1:2:3"),
        ServerSentEvent("message", "ä", "1:2:3"),
        ServerSentEvent("ping"),
    ]


def test_endless_message_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message beyond all limits is an error, not a full memory."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    with pytest.raises(ValueError, match="longer than"):
        EventParser().feed(b"data: " + b"x" * 1001)
