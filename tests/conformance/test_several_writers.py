"""What only shows where several processes write to one database."""

from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from dispatching import W1
from invariants import check_invariants
from racing import Clients, answers

from fakes.specs import NOW, WS, new_task
from fakes.stores import opened_postgres, second_client
from taskyard.core.ids import GroupName
from taskyard.core.instants import after
from taskyard.core.states import TaskState
from taskyard.core.tasks import Webhook, WebhookEvent
from taskyard.store.postgres.connection import PostgresConnection
from taskyard.store.sql.batch_counts import BatchCounts

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


async def test_writers_do_not_wait_for_each_others_counts(clients: Clients) -> None:
    """One is about to commit, with its counts written; another stores tasks of the same group."""
    counts = BatchCounts()
    # One that writes is ended soon if it does nothing, and would be waited for until then only.
    with closing(PostgresConnection(clients.first.database.raw)) as busy:
        busy.begin()
        news = [new_task() for _ in range(3)]
        counts.add(WS, news[0].spec.group, TaskState.QUEUED, 5)
        counts.flush(busy)
        busy.execute("tasks.counts_of_workspace", {"workspace": WS})  # until then it is delayed
        with anyio.fail_after(30):
            await clients.second.tasks.submit(news, None)
        busy.rollback()
    assert await clients.first.tasks.counts(WS) == {TaskState.QUEUED: 3}


async def test_counts_of_all_writers_are_added_up(clients: Clients) -> None:
    """By every look, and once and for all by retention; what adds up to nothing leaves nothing."""
    one, other = clients.first, clients.second
    news = [new_task(group=f"g{number}") for number in range(4)]
    await one.tasks.submit(news, None)
    await other.tasks.cancel(WS, [new.id for new in news], NOW, "me")
    for _ in range(2):
        await check_invariants(other)
        assert await one.tasks.counts(WS, GroupName("g1")) == {TaskState.CANCELLED: 1}
        assert await one.dispatch.backlogs() == []
        assert len(await other.groups.groups(WS, None, 10)) == len(news)
        await one.dispatch.prune(NOW, None, None, 10)
    with one.database.raw() as raw:
        assert raw.execute("SELECT count(*) FROM task_count_shards").fetchone() == (0,)
        kept = raw.execute("SELECT group_name, state, total FROM task_counts ORDER BY 1").fetchall()
    assert kept == [(f"g{number}", "cancelled", 1) for number in range(4)]
    await one.tasks.delete(WS, [new.id for new in news], NOW)
    assert await other.groups.groups(WS, None, 10) == []
    assert await other.dispatch.counts() == {}
