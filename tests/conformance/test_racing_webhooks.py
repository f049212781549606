"""What stays true of messages while two clients write, send, redeliver and remove them at once."""

from functools import partial
from typing import Any

import pytest
from dispatching import TOKEN, W1, placement
from invariants import check_invariants
from racing import Clients, answers, refusals

from fakes.specs import NOW, WS, new_task
from taskyard.core.access.principals import AuditEntry
from taskyard.core.attempts import Ended, Started
from taskyard.core.errors import NotFound
from taskyard.core.ids import AttemptId
from taskyard.core.instants import Instant, after
from taskyard.core.notifications.webhooks import Delivery, DeliveryState, Try
from taskyard.core.states import AttemptState
from taskyard.core.tasks import NewTask, Webhook, WebhookEvent
from taskyard.ports.webhooks import DueDelivery

pytestmark = pytest.mark.anyio
HOOK = Webhook("http://x.example/hook", events=(WebhookEvent.FINISHED,))
ENTRY = AuditEntry(0, NOW, "user root", WS, "webhook.redeliver")
LONG_AFTER = Instant(NOW + 10**12)


@pytest.fixture
def clients(complete_clients: Clients) -> Clients:
    """Every adapter that has an outbox."""
    return complete_clients


async def finished(client: Any, *hooks: Webhook) -> NewTask:
    """A task that was cancelled, and so finished."""
    new = new_task(webhooks=hooks or (HOOK,))
    await client.tasks.submit([new], None)
    await client.tasks.cancel(WS, [new.id], NOW, "me")
    return new


async def message(client: Any) -> tuple[NewTask, DueDelivery]:
    """A message that is due, and the task that it tells of."""
    new = await finished(client)
    due, _ = await client.webhooks.due(LONG_AFTER, 1000)
    ids = [one.id for one in await client.webhooks.deliveries_of(WS, new.id, 10)]
    (found,) = [one for one in due if one.id in ids]
    return new, found


def made(number: int = 0, status: int = 204) -> Try:
    """A try, and how it went."""
    error = None if status < 300 else f"answered {status}"
    return Try(at=Instant(NOW + number), duration_ms=number, status=status, error=error)


async def delivery(client: Any, delivery_id: str) -> Delivery:
    """A delivery whose members agree with each other."""
    found: Delivery = await client.webhooks.delivery(WS, delivery_id)
    assert found.attempt_count == len(found.tries)
    assert (found.state is DeliveryState.PENDING) == (found.next_at is not None)
    assert (found.state is DeliveryState.DELIVERED) == (found.delivered_at is not None)
    if found.tries:
        assert (found.last_status, found.last_error) == (
            found.tries[-1].status,
            found.tries[-1].error,
        )
    return found


async def test_a_change_is_told_once(clients: Clients) -> None:
    """Two cancel a task: one message for each of its webhooks, whoever was first."""
    other_hook = Webhook("http://y.example/", events=(WebhookEvent.FINISHED,))
    for _, one, other in clients.in_turns():
        new = new_task(webhooks=(HOOK, other_hook))
        await one.tasks.submit([new], None)
        outcomes = answers(
            await clients.race(
                partial(one.tasks.cancel, WS, [new.id], NOW, "me"),
                partial(other.tasks.cancel, WS, [new.id], NOW, "you"),
            )
        )
        assert sum(change.deliveries for _, changes in outcomes for change in changes) == 2
        told = await one.webhooks.deliveries_of(WS, new.id, 10)
        assert sorted(one.url for one in told) == [HOOK.url, other_hook.url]
    await check_invariants(clients.first)


async def test_no_change_is_left_untold(clients: Clients) -> None:
    """Start and end told by two clients, a kill beside them: every event has its one message."""
    events = (WebhookEvent.STARTED, WebhookEvent.FINISHED)
    for number, one, other in clients.in_turns():
        new = new_task(webhooks=(Webhook("http://x.example/", events=events),))
        name = AttemptId(f"a{number}")
        await one.tasks.submit_placed(new, None, placement(new.id, 0, name))
        end = Ended(name, TOKEN, after(NOW, 2), AttemptState.SUCCEEDED, started_at=NOW)
        answers(
            await clients.race(
                partial(one.dispatch.apply, [Started(name, TOKEN, NOW)], NOW, [0.5]),
                partial(other.dispatch.apply, [end], after(NOW, 2), [0.5]),
                partial(one.tasks.cancel, WS, [new.id], NOW, "me"),
            )
        )
        told = await other.webhooks.deliveries_of(WS, new.id, 10)
        assert sorted(one.event for one in told) == sorted(events)
    await check_invariants(clients.first)


async def test_deliveries_are_numbered_once(clients: Clients) -> None:
    """Pages by number show each message once, whichever client wrote it."""
    calls = [partial(finished, client) for client in (clients.first, clients.second) * 15]
    news = answers(await clients.race(*calls))
    seen: list[Delivery] = []
    before: int | None = None
    while page := await clients.second.webhooks.deliveries(WS, None, before, 7):
        seen += page
        before = page[-1].number
    assert len({one.number for one in seen}) == len(seen)
    assert sorted(one.task_id for one in seen) == sorted(new.id for new in news)


async def test_both_see_what_is_due(clients: Clients) -> None:
    """Each message once in an answer, and no message in neither; looking changes nothing."""
    ids = [(await message(clients.first))[1].id for _ in range(5)]
    (due, next_at), (again, next_again) = answers(
        await clients.race(
            partial(clients.first.webhooks.due, LONG_AFTER, 100),
            partial(clients.second.webhooks.due, LONG_AFTER, 100),
        )
    )
    assert sorted(one.id for one in due) == sorted(one.id for one in again) == sorted(ids)
    assert next_at is next_again is None


async def test_a_delivered_message_stays_delivered(clients: Clients) -> None:
    """One client delivered it, the other one's try failed: it is never due again."""
    for _, one, other in clients.in_turns():
        _, due = await message(one)
        later = after(NOW, 60)
        answers(
            await clients.race(
                partial(one.webhooks.record_try, due.id, made(1), DeliveryState.DELIVERED, None),
                partial(
                    other.webhooks.record_try, due.id, made(2, 500), DeliveryState.PENDING, later
                ),
            )
        )
        found = await delivery(other, due.id)
        assert found.state is DeliveryState.DELIVERED
        assert found.tries[-1] == made(1)
        waiting, _ = await one.webhooks.due(LONG_AFTER, 1000)
        assert due.id not in [one.id for one in waiting]


async def test_a_message_is_given_up_or_delivered(clients: Clients) -> None:
    """The first of two last words holds; the second is not noted."""
    for _, one, other in clients.in_turns():
        _, due = await message(one)
        answers(
            await clients.race(
                partial(one.webhooks.record_try, due.id, made(1), DeliveryState.DELIVERED, None),
                partial(
                    other.webhooks.record_try, due.id, made(2, 500), DeliveryState.FAILED, None
                ),
            )
        )
        found = await delivery(one, due.id)
        expected = {DeliveryState.DELIVERED: made(1), DeliveryState.FAILED: made(2, 500)}
        assert found.tries == (expected[found.state],)


async def test_every_failed_try_counts(clients: Clients) -> None:
    """Of both clients, numbered one after the other; none overwrites the other's."""
    _, due = await message(clients.first)
    for number, one, other in clients.in_turns():
        tries = [made(2 * number, 500), made(2 * number + 1, 503)]
        answers(
            await clients.race(
                partial(one.webhooks.record_try, due.id, tries[0], DeliveryState.PENDING, NOW),
                partial(other.webhooks.record_try, due.id, tries[1], DeliveryState.PENDING, NOW),
            )
        )
        found = await delivery(one, due.id)
        assert sorted(found.tries[-2:], key=lambda one: one.at) == tries
        ((again,), _) = await other.webhooks.due(NOW, 10)
        assert again.failed_tries == found.attempt_count == 2 * number + 2


async def test_redelivering_against_a_result(clients: Clients) -> None:
    """Both happened, in one order or the other; the trail tells of each redelivery."""
    for number, one, other in clients.in_turns():
        _, due = await message(one)
        redelivered, _ = answers(
            await clients.race(
                partial(one.webhooks.redeliver, WS, due.id, NOW, ENTRY),
                partial(other.webhooks.record_try, due.id, made(), DeliveryState.DELIVERED, None),
            )
        )
        found = await delivery(other, due.id)
        assert found.tries == (made(),)
        was_first = not redelivered.tries
        assert found.state is (DeliveryState.DELIVERED if was_first else DeliveryState.PENDING)
        assert len(await one.access.audit(WS, None, 100)) == number + 1
        await one.webhooks.record_try(due.id, made(9), DeliveryState.DELIVERED, None)


async def test_redelivering_twice_is_one_more_round(clients: Clients) -> None:
    """Both are told that it is pending; it is due once, with all its tries."""
    for _, one, other in clients.in_turns():
        _, due = await message(one)
        await one.webhooks.record_try(due.id, made(1, 500), DeliveryState.FAILED, None)
        outcomes = answers(
            await clients.race(
                partial(one.webhooks.redeliver, WS, due.id, NOW, ENTRY),
                partial(other.webhooks.redeliver, WS, due.id, NOW, ENTRY),
            )
        )
        assert [told.state for told in outcomes] == [DeliveryState.PENDING] * 2
        waiting, _ = await other.webhooks.due(NOW, 100)
        (again,) = [one for one in waiting if one.id == due.id]
        assert again.failed_tries == 0
        await one.webhooks.record_try(due.id, made(9), DeliveryState.DELIVERED, None)


async def test_a_removed_task_leaves_no_message(clients: Clients) -> None:
    """Removed while a try at it is noted, or while it is redelivered: nothing is left to send."""
    for _, one, other in clients.in_turns():
        new, due = await message(one)
        deleted, noted, redelivered = await clients.race(
            partial(one.tasks.delete, WS, [new.id], NOW),
            partial(other.webhooks.record_try, due.id, made(1, 500), DeliveryState.PENDING, NOW),
            partial(other.webhooks.redeliver, WS, due.id, NOW, ENTRY),
        )
        assert refusals([deleted, noted]) == []
        assert refusals([redelivered]) in ([], [NotFound])
        assert await one.webhooks.due(LONG_AFTER, 10) == ([], None)
        assert await other.webhooks.deliveries(WS, None, None, 10) == []
        with pytest.raises(NotFound):
            await other.webhooks.delivery(WS, due.id)
    await check_invariants(clients.first)


async def test_a_lost_worker_is_told_once(clients: Clients) -> None:
    """Both notice it: a task that may not run again has one message of its failure."""
    for number, one, other in clients.in_turns():
        await one.dispatch.join(W1)
        new = new_task(webhooks=(HOOK,), rerun_if_lost=False)
        await one.tasks.submit_placed(new, None, placement(new.id, 0, f"a{number}"))
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.lose, W1.id, W1.incarnation, NOW),
                partial(other.dispatch.lose, W1.id, W1.incarnation, NOW),
            )
        )
        assert [change.deliveries for changes in outcomes for change in changes] == [1]
        assert len(await one.webhooks.deliveries_of(WS, new.id, 10)) == 1
    await check_invariants(clients.first)
