"""What a process says before its end is heard, whichever way the news of its end takes."""

import json
from typing import Any

import anyio
import pytest

from taskyard.runtimes.function.channel import Channel, datagrams

pytestmark = pytest.mark.anyio


async def test_catching_up_hears_all_that_was_said_and_leaves_the_end_for_later() -> None:
    """The words first; that nobody is there any more shows when the loop turns."""
    heard: list[dict[str, Any]] = []
    gone = anyio.Event()
    ours, theirs = datagrams()
    channel = Channel(ours, heard.append, gone.set)
    said = [{"forks": True}, {"failed": "no module named greeting"}]
    for one in said:
        theirs.send(json.dumps(one).encode())
    theirs.close()
    channel.catch_up()
    assert heard == said
    assert not gone.is_set()
    with anyio.fail_after(10):
        await gone.wait()
    assert heard == said
