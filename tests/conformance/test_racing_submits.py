"""What stays true when two clients submit, place, cancel and change the same at the same time."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from dispatching import TOKEN, W1, placement, renewed
from invariants import check_invariants
from msgspec.structs import replace
from racing import Clients, answers, refusals

from fakes.specs import NOW, WS, new_task
from taskyard.core.errors import Conflict, IllegalTransition, NotFound
from taskyard.core.ids import AttemptId, IncarnationId, LeaseToken, WorkerId
from taskyard.core.instants import after
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.store import Submitted

pytestmark = pytest.mark.anyio
W2 = replace(W1, id=WorkerId("w2"), incarnation=IncarnationId("life-2"))


async def submitted(client: Any, new: NewTask) -> Submitted:
    """One task that is stored."""
    (stored,) = await client.tasks.submit([new], "me")
    return stored  # type: ignore[no-any-return]


async def test_one_key_makes_one_task(clients: Clients) -> None:
    """Whoever comes second is told the first one's task, and is not refused."""
    for number, one, other in clients.in_turns():
        news = [new_task(idempotency_key=f"k{number}") for _ in range(2)]
        outcomes = answers(
            await clients.race(
                partial(one.tasks.submit, [news[0]], "me"),
                partial(other.tasks.submit, [news[1]], "you"),
            )
        )
        first, second = (stored for (stored,) in outcomes)
        assert (first.task_id, first.seq) == (second.task_id, second.seq)
        assert {first.created, second.created} == {True, False}
    assert len(await check_invariants(clients.first)) == 12


async def test_many_keys_at_once_make_one_task_each(clients: Clients) -> None:
    """Batches that share keys in opposite orders; each is stored as a whole."""
    keys = [f"k{number}" for number in range(20)]
    calls = []
    for client in (clients.first, clients.second) * 3:
        batch = [new_task(idempotency_key=key) for key in keys]
        calls.append(partial(client.tasks.submit, batch, None))
        keys.reverse()
    outcomes = answers(await clients.race(*calls))
    assert sum(one.created for batch in outcomes for one in batch) == len(keys)
    ids = {tuple(sorted(one.task_id for one in batch)) for batch in outcomes}
    assert len(ids) == 1
    assert len(await check_invariants(clients.first)) == len(keys)


async def test_a_known_id_is_refused_alone(clients: Clients) -> None:
    """Of two submits of one task; whatever else is stored at the same moment is stored."""
    for _, one, other in clients.in_turns():
        new, beside, bystander = new_task(), new_task(), new_task()
        first, second, third = await clients.race(
            partial(one.tasks.submit, [new], None),
            partial(other.tasks.submit, [beside, new], None),
            partial(other.tasks.submit, [bystander], None),
        )
        assert refusals([first, second]) == [Conflict]
        assert refusals([third]) == []
        tasks = {task.id for task in await check_invariants(one)}
        assert {new.id, bystander.id} <= tasks
        assert (beside.id in tasks) is (refusals([second]) == []), "half a submit"


async def test_keys_meet_from_both_ends(clients: Clients) -> None:
    """One by one, forwards by one client and backwards by the other, so that most are old news."""
    keys = [f"k{number}" for number in range(20)]

    async def submit_all(client: Any, order: Sequence[str]) -> list[Submitted]:
        return [await submitted(client, new_task(idempotency_key=key)) for key in order]

    outcomes = answers(
        await clients.race(
            partial(submit_all, clients.first, keys),
            partial(submit_all, clients.second, keys[::-1]),
        )
    )
    assert [one.task_id for one in outcomes[0]] == [one.task_id for one in outcomes[1][::-1]]
    assert sum(one.created for made in outcomes for one in made) == len(keys)
    assert len(await check_invariants(clients.first)) == len(keys)


async def test_one_key_makes_one_attempt(clients: Clients) -> None:
    """Stored with its attempt by both: one task, one attempt, and it is the creator's."""
    for number, one, other in clients.in_turns():
        news = [new_task(idempotency_key=f"k{number}") for _ in range(2)]
        plans = [placement(new.id, 0, f"{number}-{place}") for place, new in enumerate(news)]
        outcomes = answers(
            await clients.race(
                partial(one.tasks.submit_placed, news[0], None, plans[0]),
                partial(other.tasks.submit_placed, news[1], None, plans[1]),
            )
        )
        (made,) = (stored for stored in outcomes if stored.created)
        (known,) = (stored for stored in outcomes if not stored.created)
        assert (known.task_id, known.attempt) == (made.task_id, None)
        (attempt,) = await one.tasks.attempts(WS, made.task_id)
        assert attempt == made.attempt
    await check_invariants(clients.second)


async def test_positions_are_given_once(clients: Clients) -> None:
    """Every task has its own place in the order, and batches stay together in theirs."""
    calls = []
    for number in range(20):
        batch = [new_task() for _ in range(5)]
        client = clients.second if number % 2 else clients.first
        calls.append(partial(client.tasks.submit, batch, None))
    outcomes = answers(await clients.race(*calls))
    seqs = [one.seq for batch in outcomes for one in batch]
    assert len(set(seqs)) == 100
    for batch in outcomes:
        assert [one.seq for one in batch] == sorted(one.seq for one in batch)
    assert len(await check_invariants(clients.first)) == 100


async def test_a_task_is_placed_on_one_of_two_workers(clients: Clients) -> None:
    """The other client is told that it placed nothing."""
    await clients.first.dispatch.join(W2)
    for number, one, other in clients.in_turns():
        new = new_task()
        stored = await submitted(one, new)
        ours = placement(new.id, stored.seq, f"w1-{number}")
        theirs = placement(
            new.id, stored.seq, f"w2-{number}", worker_id=W2.id, incarnation=W2.incarnation
        )
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.place, [ours], NOW),
                partial(other.dispatch.place, [theirs], NOW),
            )
        )
        (placed,) = [done for placed, _ in outcomes for done in placed]
        assert sum(len(changes) for _, changes in outcomes) == 1
        (attempt,) = await other.tasks.attempts(WS, new.id)
        assert attempt == placed.attempt
    await check_invariants(clients.first)


async def test_one_lost_race_costs_no_other_placement(clients: Clients) -> None:
    """Of two overlapping plans everything is placed once, and nothing fails."""
    for number, one, other in clients.in_turns():
        stored = await one.tasks.submit([new_task() for _ in range(6)], None)
        plans = [
            [placement(it.task_id, it.seq, f"{number}-{who}-{it.seq}") for it in part]
            for who, part in (("a", stored[:4]), ("b", stored[:1:-1]))
        ]
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.place, plans[0], NOW),
                partial(other.dispatch.place, plans[1], NOW),
            )
        )
        ids = [done.task.id for placed, _ in outcomes for done in placed]
        assert sorted(ids) == sorted(it.task_id for it in stored)
    await check_invariants(clients.first)


async def test_a_task_is_placed_or_cancelled(clients: Clients) -> None:
    """Cancelled and never placed, or placed and then marked for its kill; nothing between."""
    for number, one, other in clients.in_turns():
        new = new_task()
        stored = await submitted(one, new)
        (placed, _), ((cancelled,), _) = answers(
            await clients.race(
                partial(one.dispatch.place, [placement(new.id, stored.seq, f"a{number}")], NOW),
                partial(other.tasks.cancel, WS, [new.id], NOW, "me"),
            )
        )
        assert cancelled.outcome == ("killing" if placed else "cancelled")
        task = await other.tasks.task(WS, new.id)
        assert task.state is (TaskState.RUNNING if placed else TaskState.CANCELLED)
        assert task.attempt_count == len(placed)
    await check_invariants(clients.first)


async def test_a_worker_that_is_lost_holds_nothing(clients: Clients) -> None:
    """Placed before it was lost, and so queued again; or after, and so never placed."""
    for number, one, other in clients.in_turns():
        life = replace(W2, incarnation=IncarnationId(f"life-{number}"))
        await one.dispatch.join(life)
        new = new_task()
        stored = await submitted(one, new)
        plan = placement(
            new.id, stored.seq, f"a{number}", worker_id=life.id, incarnation=life.incarnation
        )
        answers(
            await clients.race(
                partial(one.dispatch.place, [plan], NOW),
                partial(other.dispatch.lose, life.id, life.incarnation, NOW),
            )
        )
        assert (await one.tasks.task(WS, new.id)).state is TaskState.QUEUED
    assert await clients.first.dispatch.running() == []
    await check_invariants(clients.second)


async def test_a_draining_worker_gets_nothing_after_it_was_told(clients: Clients) -> None:
    """What was placed before stays; once the answer is there, nothing comes."""
    for number, one, other in clients.in_turns():
        new, later = new_task(), new_task()
        stored = await submitted(one, new)
        answers(
            await clients.race(
                partial(one.dispatch.place, [placement(new.id, stored.seq, f"a{number}")], NOW),
                partial(other.dispatch.set_draining, W1.id, draining=True),
            )
        )
        told = await one.tasks.submit_placed(later, None, placement(later.id, 0, f"b{number}"))
        assert told.attempt is None
        await one.dispatch.set_draining(W1.id, draining=False)
    await check_invariants(clients.first)


async def test_a_waiting_task_is_cancelled_once(clients: Clients) -> None:
    """Two cancel it: one has cancelled it, the other finds it ended; one change is told."""
    for _, one, other in clients.in_turns():
        new = new_task()
        await submitted(one, new)
        outcomes = answers(
            await clients.race(
                partial(one.tasks.cancel, WS, [new.id], NOW, "me"),
                partial(other.tasks.cancel, WS, [new.id], NOW, "you"),
            )
        )
        assert {told.outcome for (told,), _ in outcomes} == {"cancelled", "ended"}
        assert [change.kind for _, changes in outcomes for change in changes] == ["cancelled"]
    await check_invariants(clients.first)


async def test_an_ended_task_is_deleted_once(clients: Clients) -> None:
    """The other one finds nothing; counters do not go below what is there."""
    for _, one, other in clients.in_turns():
        gone, kept = new_task(labels={"a": "b"}), new_task()
        await one.tasks.submit([gone, kept], None)
        await one.tasks.cancel(WS, [gone.id, kept.id], NOW, "me")
        outcomes = await clients.race(
            partial(one.tasks.delete, WS, [gone.id], NOW),
            partial(other.tasks.delete, WS, [gone.id], NOW),
        )
        assert refusals(outcomes) == [NotFound]
        with pytest.raises(NotFound):
            await other.tasks.task(WS, gone.id)
    assert len(await check_invariants(clients.first)) == 12


async def test_retention_and_deletion_take_a_task_once(clients: Clients) -> None:
    """Both may come first; its attempts are named by one of them."""
    for number, one, other in clients.in_turns():
        new = new_task()
        stored = await one.tasks.submit_placed(new, None, placement(new.id, 0, f"a{number}"))
        assert stored.attempt is not None
        await one.dispatch.lose(W1.id, W1.incarnation, NOW)
        await one.dispatch.join(W1)
        await one.tasks.cancel(WS, [new.id], NOW, "me")
        deleted, pruned = await clients.race(
            partial(one.tasks.delete, WS, [new.id], NOW),
            partial(other.dispatch.prune, after(NOW, 9), after(NOW, 9), None, 10),
        )
        named = [] if isinstance(deleted, NotFound) else [*answers([deleted])[0][0]]
        count, attempts = answers([pruned])[0]
        assert [*named, *attempts] == [f"a{number}"]
        assert count == (1 if attempts else 0)
    assert await check_invariants(clients.first) == []


async def test_priority_is_changed_or_the_task_is_placed(clients: Clients) -> None:
    """A change that was refused changed nothing; one that was granted is there."""
    for number, one, other in clients.in_turns():
        new = new_task()
        stored = await submitted(one, new)
        changed, _ = await clients.race(
            partial(one.tasks.set_priority, WS, new.id, 5, NOW, "me"),
            partial(other.dispatch.place, [placement(new.id, stored.seq, f"a{number}")], NOW),
        )
        task = await other.tasks.task(WS, new.id)
        assert task.state is TaskState.RUNNING
        assert task.spec.priority == (0 if isinstance(changed, IllegalTransition) else 5)
    await check_invariants(clients.first)


async def test_two_changes_of_a_waiting_task_are_both_kept(clients: Clients) -> None:
    """Priority by one, start by the other: neither writes over the other's."""
    for _, one, other in clients.in_turns():
        new = new_task(start_at=after(NOW, 60))
        await submitted(one, new)
        answers(
            await clients.race(
                partial(one.tasks.set_priority, WS, new.id, 7, NOW, "me"),
                partial(other.tasks.reschedule, WS, new.id, after(NOW, 90), NOW, "you"),
            )
        )
        task = await one.tasks.task(WS, new.id)
        assert (task.spec.priority, task.start_at) == (7, after(NOW, 90))
    await check_invariants(clients.first)


async def test_a_rule_is_changed_part_by_part(clients: Clients) -> None:
    """One gives another rule, the other another time zone: both hold afterwards."""
    for _, one, other in clients.in_turns():
        new = new_task(cron="0 8 * * *", start_at=after(NOW, 60))
        await submitted(one, new)
        start = after(NOW, 90)
        answers(
            await clients.race(
                partial(one.tasks.reschedule, WS, new.id, start, NOW, "me", cron="0 9 * * *"),
                partial(
                    other.tasks.reschedule, WS, new.id, start, NOW, "you", timezone="Asia/Tokyo"
                ),
            )
        )
        task = await one.tasks.task(WS, new.id)
        assert (task.spec.cron, task.spec.timezone) == ("0 9 * * *", "Asia/Tokyo")
    await check_invariants(clients.first)


async def test_every_due_task_comes_up_once(clients: Clients) -> None:
    """Both clients look at the clock: starts, expiries and firings are told by one of them."""
    moment = after(NOW, 40)  # a full minute
    for number, one, other in clients.in_turns():
        now = after(moment, 60 * number)
        news = [
            new_task(start_at=after(now, -1)),
            new_task(start_at=after(now, -1), expires_at=after(now, -1)),
            new_task(cron="* * * * *", start_at=now),
        ]
        await one.tasks.submit(news, None)
        outcomes = answers(
            await clients.race(
                partial(one.dispatch.due, now, 100),
                partial(other.dispatch.due, now, 100),
            )
        )
        told = [(change.task_id, change.kind) for changes in outcomes for change in changes]
        assert len(set(told)) == len(told)
        assert {(news[0].id, "due"), (news[1].id, "expired")} <= set(told)
        fired = [change for changes in outcomes for change in changes if change.kind == "fired"]
        assert len(fired) == number + 1
    await check_invariants(clients.second)


async def test_one_incarnation_of_a_worker_is_the_present_one(clients: Clients) -> None:
    """Two lives join at once: one renews, the other cannot; its attempt belongs to that one."""
    for number, one, other in clients.in_turns():
        new, name = new_task(), AttemptId(f"a{number}")
        lives = [replace(W1, incarnation=IncarnationId(f"{number}-{life}")) for life in "xy"]
        present = (await one.dispatch.workers())[0].incarnation
        plan = placement(new.id, 0, name, incarnation=present, lease_token=LeaseToken(TOKEN))
        await one.tasks.submit_placed(new, None, plan)
        answers(
            await clients.race(
                partial(one.dispatch.join, lives[0]),
                partial(other.dispatch.join, lives[1]),
            )
        )
        hold = [await renewed(one, W1.id, life.incarnation) for life in lives]
        assert sorted(hold) == [False, True]
        (record,) = await other.dispatch.workers()
        assert record.incarnation == lives[hold.index(True)].incarnation
        attempt = await other.tasks.attempt(WS, name)
        assert attempt.incarnation == record.incarnation
    await check_invariants(clients.first)
