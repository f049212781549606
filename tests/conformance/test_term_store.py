"""What every store promises of terms, and of what is decided in them."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from dispatching import W1, placement
from invariants import check_invariants
from job_world import key, put
from racing import Clients, refusals

from fakes.specs import NOW, WS, new_task
from taskyard.core.errors import NotLeading
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import after
from taskyard.core.states import TaskState
from taskyard.core.tasks import NewTask
from taskyard.ports.leadership import Plane

pytestmark = pytest.mark.anyio
A, B = PlaneId("plane-a"), PlaneId("plane-b")
LONG_S = 3600.0
LATER = after(NOW, 3600)


async def leads(store: Any, plane_id: PlaneId) -> Term:
    """Have a plane lead, in place of any other; its term."""
    await store.leadership.register(Plane(plane_id, plane_id, "http://plane", "1.0"))
    present = await store.leadership.leader()
    if present is not None:
        await store.leadership.resign(present.hold.plane_id, present.hold.term)
    found: Term = (await store.leadership.claim(plane_id, None, LONG_S)).hold.term
    return found


async def submitted(store: Any, **more: Any) -> tuple[NewTask, int]:
    """A task that is queued, and its position."""
    new = new_task(**more)
    (stored,) = await store.tasks.submit([new], None)
    return new, stored.seq


async def test_terms_go_on_after_the_store_was_opened_again(
    store: Any, reopen: Callable[[], Awaitable[Any]]
) -> None:
    """A term is never given twice."""
    assert await leads(store, A) == 1
    assert await leads(await reopen(), A) == 2


async def test_the_present_leader_places(clients: Clients) -> None:
    """On condition of its term."""
    store = clients.first
    term = await leads(store, A)
    new, seq = await submitted(store)
    placed, changes = await store.dispatch.place([placement(new.id, seq, term=term)], NOW)
    assert [one.task.id for one in placed] == [new.id]
    assert [one.kind for one in changes] == ["assigned"]


@pytest.mark.parametrize("stale", [Term(1), Term(3)])
async def test_whoever_leads_no_more_places_nothing(clients: Clients, stale: Term) -> None:
    """Not even that part of its plan that has a valid term; nor a term nobody had yet."""
    store = clients.first
    await leads(store, A)
    assert await leads(store, B) == 2
    new, seq = await submitted(store)
    other, other_seq = await submitted(store)
    plan = [
        placement(other.id, other_seq, "b", term=Term(2), lease_token="t"),
        placement(new.id, seq, "a", term=stale),
    ]
    with pytest.raises(NotLeading):
        await store.dispatch.place(plan, NOW)
    assert await store.dispatch.running() == []
    for task_id in (new.id, other.id):
        assert (await store.tasks.task(WS, task_id)).state is TaskState.QUEUED
    placed, _ = await store.dispatch.place(plan[:1], NOW)
    assert [one.task.id for one in placed] == [other.id]


async def test_a_term_that_ran_out_counts_until_another_begins(clients: Clients) -> None:
    """Nobody else can have decided anything meanwhile."""
    store = clients.first
    await store.leadership.register(Plane(A, "one", "", "1"))
    term = (await store.leadership.claim(A, None, 0.0)).hold.term
    new, seq = await submitted(store)
    placed, _ = await store.dispatch.place([placement(new.id, seq, term=term)], NOW)
    assert len(placed) == 1


async def test_submits_of_a_plane_that_leads_no_more_are_stored_as_queued(
    clients: Clients,
) -> None:
    """The caller is none the wiser; the leader places them."""
    store = clients.first
    await leads(store, A)
    term = await leads(store, B)
    stale, present = new_task(), new_task()
    stored = await store.tasks.submit_placed(stale, None, placement(stale.id, 0, "a", term=Term(1)))
    assert (stored.created, stored.attempt) == (True, None)
    assert (await store.tasks.task(WS, stale.id)).state is TaskState.QUEUED
    plan = placement(present.id, 0, "b", term=term)
    assert (await store.tasks.submit_placed(present, None, plan)).attempt is not None
    assert [one.attempt.id for one in await store.dispatch.running()] == ["b"]


async def test_only_the_leader_gives_up_workers(clients: Clients) -> None:
    """Others change nothing."""
    store = clients.first
    await leads(store, A)
    term = await leads(store, B)
    new = new_task()
    await store.tasks.submit_placed(new, None, placement(new.id, 0))
    with pytest.raises(NotLeading):
        await store.dispatch.lose(W1.id, W1.incarnation, NOW, term=Term(1))
    assert (await store.dispatch.workers())[0].state == "ready"
    changes = await store.dispatch.lose(W1.id, W1.incarnation, NOW, term=term)
    assert [one.kind for one in changes] == ["requeued"]


async def test_only_the_leader_lets_time_pass(clients: Clients) -> None:
    """What is due stays due for it."""
    store = clients.first
    await leads(store, A)
    term = await leads(store, B)
    new = new_task(start_at=after(NOW, 5))
    await store.tasks.submit([new], None)
    with pytest.raises(NotLeading):
        await store.dispatch.due(LATER, 10, Term(1))
    assert (await store.tasks.task(WS, new.id)).state is TaskState.SCHEDULED
    assert len(await store.dispatch.due(LATER, 10, term)) == 1


async def test_only_the_leader_starts_jobs(store: Any) -> None:
    """What is due stays due for it."""
    await leads(store, A)
    term = await leads(store, B)
    await put(store, key(), after(NOW, 5))
    with pytest.raises(NotLeading):
        await store.jobs.start_due(LATER, 10, Term(1))
    assert len(await store.jobs.start_due(LATER, 10, term)) == 1


async def test_without_a_term_there_is_no_condition(clients: Clients) -> None:
    """As where there is one control plane."""
    store = clients.first
    new, seq = await submitted(store)
    placed, _ = await store.dispatch.place([placement(new.id, seq)], NOW)
    assert len(placed) == 1


async def test_a_plan_and_a_takeover_at_once(clients: Clients) -> None:
    """Either the plan came first, or nothing of it is in force; nobody waits for the other."""
    term = await leads(clients.first, A)
    for number, one, other in clients.in_turns():
        new, seq = await submitted(one)
        assert await one.leadership.resign(A, term)
        await other.leadership.register(Plane(B, "two", "", "1"))
        plan = placement(new.id, seq, f"a{number}", term=term)
        placing, taken = await clients.race(
            partial(one.dispatch.place, [plan], NOW),
            partial(other.leadership.claim, B, None, LONG_S),
        )
        assert taken.hold.term == term + 1
        is_placed = refusals([placing]) == []
        assert is_placed or refusals([placing]) == [NotLeading]
        state = (await other.tasks.task(WS, new.id)).state
        assert state is (TaskState.RUNNING if is_placed else TaskState.QUEUED)
        with pytest.raises(NotLeading):
            await one.dispatch.place([plan], NOW)
        term = await leads(one, A)
    await check_invariants(clients.first)
