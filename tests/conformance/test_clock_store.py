"""What every store promises when the wall clock was set back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dispatching import W1, end, placement
from invariants import check_invariants

from fakes.specs import NOW, WS, new_task
from fakes.stores import COMPLETE_STORES, opened_as
from taskyard.core.backoff import RetryPolicy
from taskyard.core.instants import Instant, after, seconds_between
from taskyard.core.notifications.webhooks import DeliveryState, Try
from taskyard.core.states import AttemptState, TaskState
from taskyard.core.tasks import NewTask, Webhook, WebhookEvent

pytestmark = pytest.mark.anyio
HOUR_S = 3600.0
BACK = after(NOW, -HOUR_S)
FULL_HOUR_S = 2800
"""Seconds from ``NOW`` to the next full hour."""


@pytest.fixture(params=COMPLETE_STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An empty store of each kind, with a worker."""
    store: Any = await opened_as(request.param, tmp_path)
    await store.dispatch.join(W1)
    yield store
    await check_invariants(store)
    await store.close()


async def submitted(store: Any, start_s: float, **members: Any) -> NewTask:
    """A task that waits for so many seconds."""
    new = new_task(start_at=after(NOW, start_s), **members)
    await store.tasks.submit([new], None)
    return new


async def start_of(store: Any, new: NewTask) -> Instant | None:
    """When a task will come up."""
    found: Instant | None = (await store.tasks.task(WS, new.id)).start_at
    return found


async def test_a_delay_lasts_as_long_as_before(store: Any) -> None:
    """A moment that was given stays that moment."""
    delayed = await submitted(store, 600, starts_after_wait=True)
    shown = await submitted(store, 600)
    await store.timing.went_back(HOUR_S, BACK)
    assert await start_of(store, delayed) == after(BACK, 600)
    assert await start_of(store, shown) == after(NOW, 600)
    assert await store.dispatch.next_due() == after(BACK, 600)


async def test_nothing_is_moved_before_now(store: Any) -> None:
    """What has little left to wait comes up at once, not in the past."""
    delayed = await submitted(store, 600, starts_after_wait=True)
    later = after(NOW, 300)
    await store.timing.went_back(HOUR_S, later)
    assert await start_of(store, delayed) == later
    assert [one.task_id for one in await store.dispatch.due(later, 10)] == [delayed.id]


async def test_a_back_off_lasts_as_long_as_before(store: Any) -> None:
    """The attempt after it comes neither sooner nor an hour later."""
    new = new_task(retry=RetryPolicy(3, 60.0, 60.0, 1.0, 0.0))
    await store.tasks.submit_placed(new, None, placement(new.id, 0))
    await end(store, AttemptState.FAILED)
    waits_s = seconds_between(NOW, (await store.tasks.task(WS, new.id)).start_at)
    await store.timing.went_back(HOUR_S, BACK)
    task = await store.tasks.task(WS, new.id)
    assert task.state is TaskState.RETRYING
    assert seconds_between(BACK, task.start_at) == waits_s


async def test_rules_fire_by_the_clock_as_it_is(store: Any) -> None:
    """An hour earlier if a full hour comes first now; never later than before."""
    hourly = await submitted(store, FULL_HOUR_S, cron="0 * * * *")
    daily = await submitted(store, 10 * HOUR_S + FULL_HOUR_S, cron="0 9 * * *")
    sooner = await submitted(store, 100, cron="0 9 * * *")
    before = await start_of(store, daily)
    await store.timing.went_back(HOUR_S, BACK)
    assert await start_of(store, hourly) == after(BACK, FULL_HOUR_S)
    assert await start_of(store, daily) == before
    assert await start_of(store, sooner) == after(NOW, 100)


async def test_a_firing_time_is_not_used_again(store: Any) -> None:
    """The wall shows the same hour twice: the task of the first time stands for both."""
    hourly = await submitted(store, FULL_HOUR_S, cron="0 * * * *")
    moment = after(NOW, FULL_HOUR_S)
    (fired,) = await store.dispatch.due(moment, 10)
    assert fired.kind == "fired"
    await store.timing.went_back(HOUR_S, after(moment, -HOUR_S))
    assert await start_of(store, hourly) == moment
    assert await store.dispatch.due(moment, 10) == []
    assert await start_of(store, hourly) == after(moment, HOUR_S)


async def test_messages_are_tried_after_as_long_as_before(store: Any) -> None:
    """A failed one is due by its back-off, not an hour after it."""
    new = new_task(webhooks=(Webhook("http://x.example/", events=(WebhookEvent.FINISHED,)),))
    await store.tasks.submit([new], None)
    await store.tasks.cancel(WS, [new.id], NOW, "me")
    ((due,), _) = await store.webhooks.due(NOW, 10)
    failed = Try(at=NOW, duration_ms=1, status=500, error="answered 500")
    await store.webhooks.record_try(due.id, failed, DeliveryState.PENDING, after(NOW, 30))
    await store.timing.went_back(HOUR_S, BACK)
    assert await store.webhooks.due(BACK, 10) == ([], after(BACK, 30))


async def test_what_does_not_wait_is_left_alone(store: Any) -> None:
    """Queued, running and ended tasks stay as they are."""
    queued, running, ended = new_task(), new_task(), new_task()
    await store.tasks.submit([queued, ended], None)
    await store.tasks.submit_placed(running, None, placement(running.id, 0))
    await store.tasks.cancel(WS, [ended.id], NOW, "me")
    before = [await store.tasks.task(WS, one.id) for one in (queued, running, ended)]
    await store.timing.went_back(HOUR_S, BACK)
    after_it = [await store.tasks.task(WS, one.id) for one in (queued, running, ended)]
    assert after_it == before
