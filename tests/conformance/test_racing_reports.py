"""What stays true when ends, kills, losses and retries of one attempt are told at the same time."""

from functools import partial
from typing import Any

import pytest
from dispatching import TOKEN, W1, placement, renewed
from invariants import check_invariants
from msgspec.structs import replace
from racing import Clients, answers, refusals

from fakes.specs import NOW, WS, new_task
from taskyard.core.attempts import Ended, Report, Started
from taskyard.core.backoff import RetryPolicy
from taskyard.core.cron import CatchUp
from taskyard.core.errors import IllegalTransition
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken
from taskyard.core.instants import after
from taskyard.core.states import AttemptState, Reason, TaskState
from taskyard.core.tasks import NewTask, Webhook, WebhookEvent

pytestmark = pytest.mark.anyio
LATER = after(NOW, 2)


async def run(client: Any, number: int, **members: Any) -> tuple[NewTask, AttemptId]:
    """A task that an attempt was placed for."""
    new, name = new_task(**members), AttemptId(f"a{number}")
    stored = await client.tasks.submit_placed(new, None, placement(new.id, 0, name))
    assert stored.attempt is not None
    return new, name


def ended(name: AttemptId, state: AttemptState = AttemptState.SUCCEEDED, **more: Any) -> Ended:
    """A report of an end."""
    return Ended(name, more.pop("token", TOKEN), LATER, state, **more)


def applied(client: Any, *reports: Report) -> Any:
    """The call that reports."""
    return partial(client.dispatch.apply, reports, LATER, [0.5] * len(reports))


async def kinds(client: Any, new: NewTask) -> list[str]:
    """A task's history."""
    return [one.kind for one in await client.tasks.events(WS, new.id, 0, 100)]


async def test_an_end_told_twice_ends_once(clients: Clients) -> None:
    """To either client: the second report is neither refused nor told again."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        outcomes = answers(
            await clients.race(applied(one, ended(name)), applied(other, ended(name)))
        )
        assert [change.kind for changes, _ in outcomes for change in changes] == ["succeeded"]
        assert [refused for _, refused in outcomes] == [[], []]
        assert await kinds(one, new) == ["submitted", "assigned", "succeeded"]
    await check_invariants(clients.first)


async def test_of_two_different_ends_one_holds(clients: Clients) -> None:
    """The other is refused, and kept as evidence; the task follows the one that holds."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        outcomes = answers(
            await clients.race(
                applied(one, ended(name)),
                applied(other, ended(name, AttemptState.FAILED, reason=Reason.EXIT_CODE)),
            )
        )
        assert sorted(len(changes) for changes, _ in outcomes) == [0, 1]
        assert sorted(refused for _, refused in outcomes) == [[], [TOKEN]]
        (change,) = [change for changes, _ in outcomes for change in changes]
        task = await other.tasks.task(WS, new.id)
        assert task.state is change.state
        assert (await kinds(one, new))[2:] == [change.kind, "refused"]
    await check_invariants(clients.first)


async def test_a_start_and_an_end_are_told_in_order(clients: Clients) -> None:
    """Whichever is stored first, the attempt has started before it ended, and once."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        started = Started(name, TOKEN, NOW)
        answers(
            await clients.race(
                applied(one, started),
                applied(other, ended(name, started_at=NOW)),
            )
        )
        assert await kinds(one, new) == ["submitted", "assigned", "started", "succeeded"]
        assert (await other.tasks.attempt(WS, name)).started_at == NOW
    await check_invariants(clients.first)


async def test_an_end_against_a_kill(clients: Clients) -> None:
    """It was killed, or it failed before anybody asked for that; never both, never neither."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        ((told,), _), _ = answers(
            await clients.race(
                partial(one.tasks.cancel, WS, [new.id], NOW, "me"),
                applied(other, ended(name, AttemptState.FAILED, reason=Reason.SIGNAL)),
            )
        )
        task = await one.tasks.task(WS, new.id)
        expected = {"killing": TaskState.CANCELLED, "ended": TaskState.FAILED}
        assert task.state is expected[told.outcome]
        history = await kinds(one, new)
        assert history.count("kill_requested") == (told.outcome == "killing")
    await check_invariants(clients.first)


async def test_a_kill_asked_for_twice_is_one_kill(clients: Clients) -> None:
    """Both are told that it is under way, and of the same attempt."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        outcomes = answers(
            await clients.race(
                partial(one.tasks.cancel, WS, [new.id], NOW, "me"),
                partial(other.tasks.cancel, WS, [new.id], LATER, "you"),
            )
        )
        assert [told.attempt.id for (told,), _ in outcomes] == [name, name]
        assert sum(len(changes) for _, changes in outcomes) == 1
        assert (await kinds(one, new)).count("kill_requested") == 1
        await one.dispatch.apply([ended(name, AttemptState.KILLED)], LATER, [0.5])
    await check_invariants(clients.first)


async def test_a_kill_against_a_retry(clients: Clients) -> None:
    """A task that somebody cancelled waits for no further attempt."""
    policy = RetryPolicy(5, 1.0, 1.0, 1.0, 0.0)
    for number, one, other in clients.in_turns():
        new, name = await run(one, number, retry=policy)
        answers(
            await clients.race(
                partial(one.tasks.cancel, WS, [new.id], NOW, "me"),
                applied(other, ended(name, AttemptState.FAILED, reason=Reason.EXIT_CODE)),
            )
        )
        assert (await one.tasks.task(WS, new.id)).state is TaskState.CANCELLED
        assert await other.dispatch.due(after(LATER, 99), 10) == []
    await check_invariants(clients.first)


async def test_a_failure_told_twice_is_one_retry(clients: Clients) -> None:
    """It counts once against the attempts that are granted, and comes up once."""
    policy = RetryPolicy(2, 1.0, 1.0, 1.0, 0.0)
    for number, one, other in clients.in_turns():
        new, name = await run(one, number, retry=policy)
        report = ended(name, AttemptState.FAILED, reason=Reason.EXIT_CODE)
        answers(await clients.race(applied(one, report), applied(other, report)))
        assert (await one.tasks.task(WS, new.id)).state is TaskState.RETRYING
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.due, after(LATER, 9), 10),
                partial(other.dispatch.due, after(LATER, 9), 10),
            )
        )
        told = [change.task_id for changes in outcomes for change in changes]
        assert told == [new.id]
        task = await one.tasks.task(WS, new.id)
        again = placement(new.id, task.seq, f"again-{number}")
        ((placed,), _) = await other.dispatch.place([again], LATER)
        assert placed.attempt.number == 2
        report = ended(placed.attempt.id, AttemptState.FAILED, reason=Reason.EXIT_CODE)
        await one.dispatch.apply([report], LATER, [0.5])
        assert (await one.tasks.task(WS, new.id)).state is TaskState.DEAD
    await check_invariants(clients.first)


async def test_a_retry_is_placed_once(clients: Clients) -> None:
    """By two clients that both saw it come up; attempts stay numbered without a gap."""
    policy = RetryPolicy(9, 1.0, 1.0, 1.0, 0.0)
    new, name = await run(clients.first, 0, retry=policy)
    seq = (await clients.first.tasks.task(WS, new.id)).seq
    for number, one, other in clients.in_turns(8):
        report = ended(name, AttemptState.FAILED, reason=Reason.EXIT_CODE)
        await one.dispatch.apply([report], LATER, [0.5])
        await one.dispatch.due(after(LATER, 9), 10)
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.place, [placement(new.id, seq, f"x{number}")], LATER),
                partial(other.dispatch.place, [placement(new.id, seq, f"y{number}")], LATER),
            )
        )
        (placed,) = [done for placed, _ in outcomes for done in placed]
        name = placed.attempt.id
        assert placed.attempt.number == number + 2
    await check_invariants(clients.first)


async def test_a_cancel_against_what_is_due(clients: Clients) -> None:
    """A retry that was cancelled as it came up is over, however the two were stored."""
    policy = RetryPolicy(2, 1.0, 1.0, 1.0, 0.0)
    for number, one, other in clients.in_turns():
        new, name = await run(one, number, retry=policy)
        report = ended(name, AttemptState.FAILED, reason=Reason.EXIT_CODE)
        await one.dispatch.apply([report], LATER, [0.5])
        answers(
            await clients.race(
                partial(one.dispatch.due, after(LATER, 9), 10),
                partial(other.tasks.cancel, WS, [new.id], LATER, "me"),
            )
        )
        assert (await one.tasks.task(WS, new.id)).state is TaskState.CANCELLED
    await check_invariants(clients.first)


async def test_an_end_against_the_loss_of_its_worker(clients: Clients) -> None:
    """Either it ended and is done, or it was lost, is queued again, and the end is refused."""
    for number, one, other in clients.in_turns():
        life = replace(W1, incarnation=IncarnationId(f"life-{number}"))
        await one.dispatch.join(life)
        new = new_task()
        plan = placement(new.id, 0, f"a{number}", incarnation=life.incarnation)
        await one.tasks.submit_placed(new, None, plan)
        lost, (told, refused) = answers(
            await clients.race(
                partial(one.dispatch.lose, life.id, life.incarnation, LATER),
                applied(other, ended(plan.attempt_id)),
            )
        )
        task = await one.tasks.task(WS, new.id)
        if told:
            assert (task.state, refused, lost) == (TaskState.SUCCEEDED, [], [])
        else:
            assert (task.state, refused) == (TaskState.QUEUED, [TOKEN])
            assert [change.kind for change in lost] == ["requeued"]
    await check_invariants(clients.first)


async def test_a_worker_is_lost_once(clients: Clients) -> None:
    """Both notice that it is silent: its attempts end once, and their tasks come up once."""
    for number, one, other in clients.in_turns():
        life = replace(W1, incarnation=IncarnationId(f"life-{number}"))
        await one.dispatch.join(life)
        ids = []
        for place in range(5):
            new = new_task()
            name = f"a{number}-{place}"
            plan = placement(new.id, 0, name, incarnation=life.incarnation)
            await one.tasks.submit_placed(new, None, plan)
            ids.append(new.id)
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.lose, life.id, life.incarnation, LATER),
                partial(other.dispatch.lose, life.id, life.incarnation, LATER),
            )
        )
        told = [change.task_id for changes in outcomes for change in changes]
        assert sorted(told) == sorted(ids)
    await check_invariants(clients.first)


async def test_a_worker_that_renews_is_not_lost_as_well(clients: Clients) -> None:
    """A renewal that was granted after the loss would let it run what others run now."""
    for number, one, other in clients.in_turns():
        life = replace(W1, incarnation=IncarnationId(f"life-{number}"))
        await one.dispatch.join(life)
        new = new_task()
        plan = placement(new.id, 0, f"a{number}", incarnation=life.incarnation)
        await one.tasks.submit_placed(new, None, plan)
        await clients.race(
            partial(one.dispatch.lose, life.id, life.incarnation, LATER),
            partial(renewed, other, life.id, life.incarnation, LATER),
        )
        assert (await one.dispatch.workers())[0].state == "lost"
        assert not await renewed(other, life.id, life.incarnation, LATER)
        assert await other.dispatch.running() == []
    await check_invariants(clients.first)


async def test_reports_in_opposite_orders(clients: Clients) -> None:
    """Batches that share attempts, one of them backwards: all are applied once, none fails."""
    for number, one, other in clients.in_turns():
        names = [(await run(one, 100 * number + place))[1] for place in range(10)]
        reports = [ended(name) for name in names]
        outcomes = answers(
            await clients.race(applied(one, *reports), applied(other, *reversed(reports)))
        )
        told = [change.attempt_id for changes, _ in outcomes for change in changes]
        assert sorted(told) == sorted(names)
        assert [refused for _, refused in outcomes] == [[], []]
    assert len(await check_invariants(clients.first)) == 120


async def test_forged_reports_beside_true_ones(clients: Clients) -> None:
    """The lines of one history that two clients write are numbered without gaps or doubles."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        forged = [ended(name, token=LeaseToken(f"forged-{place}")) for place in range(5)]
        started = Started(name, TOKEN, NOW)
        answers(await clients.race(applied(one, *forged), applied(other, started, ended(name))))
        events = await one.tasks.events(WS, new.id, 0, 100)
        assert [event.number for event in events] == list(range(1, 10))
        assert [event.kind for event in events].count("refused") == 5
    await check_invariants(clients.first)


async def test_an_ended_task_is_deleted_or_still_runs(clients: Clients) -> None:
    """A deletion that was refused has removed nothing; one that was granted left nothing."""
    for number, one, other in clients.in_turns():
        new, name = await run(one, number)
        outcomes = await clients.race(
            partial(one.tasks.delete, WS, [new.id], LATER),
            applied(other, ended(name)),
        )
        if refusals(outcomes):
            assert refusals(outcomes) == [IllegalTransition]
            assert (await one.tasks.task(WS, new.id)).state is TaskState.SUCCEEDED
        else:
            assert outcomes[0][0] == [name]
    await check_invariants(clients.first)


async def test_a_rule_fires_for_each_moment_once(clients: Clients) -> None:
    """An hour's absence is made up for by both at once, in parts."""
    start = after(NOW, 40)  # a full minute
    new = new_task(cron="* * * * *", start_at=start, catch_up=CatchUp.ALL)
    await clients.first.tasks.submit([new], None)
    now = after(start, 3600)
    fired = 0
    while True:
        outcomes = answers(
            await clients.race(
                partial(clients.first.dispatch.due, now, 10),
                partial(clients.second.dispatch.due, now, 10),
            )
        )
        told = sum(len(changes) for changes in outcomes)
        if not told:
            break
        fired += told
    assert fired == 61
    tasks = await check_invariants(clients.second)
    moments = {task.due_at for task in tasks if task.schedule_id == new.id}
    assert moments == {after(start, 60 * minute) for minute in range(61)}


async def test_an_end_told_twice_is_one_message(complete_clients: Clients) -> None:
    """The outbox holds one delivery for the end that holds."""
    clients = complete_clients
    hook = Webhook("http://x.example/", events=(WebhookEvent.FINISHED,))
    for number, one, other in clients.in_turns():
        new, name = await run(one, number, webhooks=(hook,))
        outcomes = answers(
            await clients.race(applied(one, ended(name)), applied(other, ended(name)))
        )
        assert sum(change.deliveries for changes, _ in outcomes for change in changes) == 1
        (delivery,) = await other.webhooks.deliveries_of(WS, new.id, 10)
        assert delivery.event is WebhookEvent.FINISHED
    await check_invariants(clients.first)
