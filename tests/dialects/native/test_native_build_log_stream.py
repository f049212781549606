"""A build's log while it grows is a request that waits, and counts as one."""

from typing import Any

import pytest

from taskyard.core.access.principals import Caller, Role
from taskyard.core.ids import WorkspaceName
from taskyard.dialects.http.streams import Streams
from taskyard.dialects.native.build_log_stream import BuildLogStream

pytestmark = pytest.mark.anyio
CALLER = Caller("token x", WorkspaceName("a"), Role.READ)


class Log:
    """The log of a build that has ended."""

    async def beyond(self, offset: int) -> str:
        """What there is behind an offset."""
        return "built\n"[offset:]


async def sent_by(streams: Streams) -> list[Any]:
    """The messages of an answer."""
    messages: list[Any] = []
    log: Any = Log()
    scope: Any = {"type": "http", "method": "GET", "headers": []}

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        messages.append(message)

    await BuildLogStream(log, streams.waiting(CALLER))(scope, receive, send)
    return messages


async def test_it_is_sent_to_its_end_and_counts_until_then() -> None:
    """And makes room for another one."""
    streams = Streams(waits=1)
    for _ in range(2):
        first, *pieces = await sent_by(streams)
        assert first["status"] == 200
        assert b"".join(piece["body"] for piece in pieces) == b"built\n"


async def test_where_too_many_wait_it_is_refused_in_words() -> None:
    """As other requests that wait."""
    streams = Streams(waits=1)
    with streams.waiting(CALLER):
        first, *_ = await sent_by(streams)
    assert first["status"] == 429
    assert b"retry-after" in dict(first["headers"])
