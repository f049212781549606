"""What only shows where several processes write to one database."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1
from racing import Clients, answers

from fakes.specs import NOW, WS, new_task
from fakes.stores import opened_postgres, second_client
from taskyard.core.instants import after
from taskyard.core.tasks import Webhook, WebhookEvent

pytestmark = pytest.mark.anyio
HOOK = Webhook("http://x.example/hook", events=(WebhookEvent.FINISHED,))


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    """Two stores on one database."""
    store = await opened_postgres(tmp_path)
    try:
        await store.dispatch.join(W1)
        async with second_client(store, tmp_path) as second:
            yield Clients(store, second)
    finally:
        await store.close()


async def due(client: Any, at: Any = NOW) -> list[str]:
    """Messages that are due, by their ids."""
    found, _ = await client.webhooks.due(at, 100)
    return sorted(one.id for one in found)


async def test_a_message_is_claimed_by_one(clients: Clients) -> None:
    """Both find all of them due; each is tried by one, and by nobody else for a while."""
    until = after(NOW, 40)
    for _, one, other in clients.in_turns(4):
        news = [new_task(webhooks=(HOOK,)) for _ in range(8)]
        await one.tasks.submit(news, None)
        await one.tasks.cancel(WS, [new.id for new in news], NOW, "me")
        ids = await due(one)
        assert len(ids) == len(news)
        claimed = answers(
            await clients.race(
                partial(one.webhooks.claim, ids, NOW, until),
                partial(other.webhooks.claim, ids[::-1], NOW, until),
            )
        )
        assert sorted([*claimed[0], *claimed[1]]) == ids
        assert await due(other) == []
        assert await due(other, until) == ids
        await one.tasks.delete(WS, [new.id for new in news], NOW)
