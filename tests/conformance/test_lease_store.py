"""What every store promises of workers' leases: they hold by the store's clock, and decide."""

from functools import partial
from typing import Any

import pytest
from dispatching import TOKEN, W1, end, placement
from invariants import check_invariants
from msgspec.structs import replace
from racing import Clients

from fakes.specs import NOW, WS, new_task
from taskyard.core.attempts import Ended, StreamSize
from taskyard.core.ids import AttemptId, IncarnationId, PlaneId, WorkerId
from taskyard.core.instants import after
from taskyard.core.states import AttemptState

pytestmark = pytest.mark.anyio
W2 = replace(
    W1, id=WorkerId("w2"), incarnation=IncarnationId("life-of-2"), plane_id=PlaneId("plane-a")
)


async def left(store: Any) -> dict[str, float]:
    """Seconds that each worker's lease holds."""
    return {one.record.id: one.left_s for one in await store.dispatch.leases()}


async def test_a_worker_joins_with_a_lease(clients: Clients) -> None:
    """By the store's clock; with all that is to be known of it."""
    store = clients.first
    await store.dispatch.join(W2, 60.0)
    (found,) = [one for one in await store.dispatch.leases() if one.record.id == W2.id]
    assert found.record == W2
    assert found.left_s == pytest.approx(60, abs=2)
    assert W2 in await store.dispatch.workers()


async def test_all_leases_of_a_plane_are_renewed_at_once(clients: Clients) -> None:
    """But those of lives that are over, or were given up."""
    store = clients.first
    await store.dispatch.join(W1, 1.0)
    await store.dispatch.join(W2, 1.0)
    lives = [(W1.id, W1.incarnation), (W2.id, W2.incarnation), (W2.id, IncarnationId("before"))]
    assert await store.dispatch.renew(lives, after(NOW, 1), 60.0) == {W1.id, W2.id}
    assert await left(store) == pytest.approx({W1.id: 60, W2.id: 60}, abs=2)
    assert {one.beat_at for one in await store.dispatch.workers()} == {after(NOW, 1)}
    await store.dispatch.lose(W1.id, W1.incarnation, NOW)
    assert await store.dispatch.renew(lives, NOW, 90.0) == {W2.id}
    assert await store.dispatch.renew([], NOW, 90.0) == frozenset()


async def test_a_worker_is_given_up_only_after_its_lease(clients: Clients) -> None:
    """However long it was silent: it may run something until then."""
    store = clients.first
    new = new_task()
    await store.tasks.submit_placed(new, None, placement(new.id, 0))
    assert await store.dispatch.renew([(W1.id, W1.incarnation)], NOW, 60.0) == {W1.id}
    lose = partial(store.dispatch.lose, W1.id, W1.incarnation, NOW, only_expired=True)
    assert await lose() == []
    assert (await store.dispatch.workers())[0].state == "ready"
    await store.dispatch.renew([(W1.id, W1.incarnation)], NOW, 0.0)
    assert [one.kind for one in await lose()] == ["requeued"]


async def test_a_renewal_and_a_loss_at_once(clients: Clients) -> None:
    """The lease has run out: it is renewed or lost, and both agree."""
    for number, one, other in clients.in_turns():
        life = replace(W1, incarnation=IncarnationId(f"life-{number}"))
        await one.dispatch.join(life, 0.0)
        new = new_task()
        plan = placement(new.id, 0, f"a{number}", incarnation=life.incarnation)
        await one.tasks.submit_placed(new, None, plan)
        changes, held = await clients.race(
            partial(one.dispatch.lose, life.id, life.incarnation, NOW, only_expired=True),
            partial(other.dispatch.renew, [(life.id, life.incarnation)], NOW, 60.0),
        )
        assert bool(changes) != bool(held)
        await one.tasks.cancel(WS, [new.id], NOW, "me")
    await check_invariants(clients.first)


async def test_what_a_worker_says_of_its_runtimes_is_known(clients: Clients) -> None:
    """To all who ask; not from a life that is over."""
    store = clients.first
    told = replace(W1, runtimes=("command", "container"), tags=("gpu",), metadata={"rack": "7"})
    assert await store.dispatch.describe(told)
    (found,) = await store.dispatch.workers()
    assert (found.runtimes, found.incarnation) == (told.runtimes, W1.incarnation)
    assert not await store.dispatch.describe(replace(told, incarnation=IncarnationId("over")))


async def test_when_a_worker_leaves_is_known(clients: Clients) -> None:
    """To all who ask; of most that is not known."""
    await clients.first.dispatch.join(replace(W2, leaves_at=NOW + 55))
    found = {one.id: one.leaves_at for one in await clients.second.dispatch.workers()}
    assert found == {W1.id: None, W2.id: NOW + 55}


async def test_the_plane_of_an_attempt_is_known_while_it_runs(clients: Clients) -> None:
    """Where its output is, and is left if it has any. Of attempts that never were, nobody knows."""
    store = clients.first
    await store.dispatch.join(W2)
    for name in ("a", "b"):
        new, where = new_task(), {"worker_id": W2.id, "incarnation": W2.incarnation}
        await store.tasks.submit_placed(new, None, placement(new.id, 0, name, **where))
    assert await clients.second.dispatch.plane_of(AttemptId("a")) == "plane-a"
    await end(store, name="a")
    assert await store.dispatch.plane_of(AttemptId("a")) is None
    assert await store.dispatch.plane_of(AttemptId("b")) == "plane-a"
    await end(store, name="b", stderr=StreamSize(1, 0), order_bytes=16)
    assert await store.dispatch.plane_of(AttemptId("b")) == "plane-a"
    assert await store.dispatch.plane_of(AttemptId("c")) is None


async def test_the_holder_of_an_attempt_is_known_until_it_is_lost(clients: Clients) -> None:
    """Also when it has ended; what was taken from its worker has none."""
    store = clients.first
    await store.dispatch.join(W2)
    for name in ("a", "b"):
        new, where = new_task(), {"worker_id": W2.id, "incarnation": W2.incarnation}
        await store.tasks.submit_placed(new, None, placement(new.id, 0, name, **where))
    await end(store, name="a")
    for attempt_id in (AttemptId("a"), AttemptId("b")):
        assert await clients.second.dispatch.holder_of(attempt_id) == W2.id
    await store.dispatch.lose(W2.id, W2.incarnation, NOW)
    assert await clients.second.dispatch.holder_of(AttemptId("a")) == W2.id
    assert await clients.second.dispatch.holder_of(AttemptId("b")) is None
    assert await store.dispatch.holder_of(AttemptId("c")) is None


async def test_a_worker_renews_its_own_lease_only(clients: Clients) -> None:
    """Also one that names the life of another worker."""
    store = clients.first
    await store.dispatch.join(W1, 30.0)
    await store.dispatch.join(W2, 30.0)
    assert await store.dispatch.renew([(W1.id, W2.incarnation)], NOW, 60.0) == frozenset()
    assert await left(store) == pytest.approx({W1.id: 30, W2.id: 30}, abs=2)


async def test_a_worker_reports_its_own_attempts_only(clients: Clients) -> None:
    """Though it knew the lease of another one's: nothing happens, and nothing is written down."""
    store = clients.first
    await store.dispatch.join(W2)
    new = new_task()
    await store.tasks.submit_placed(new, None, placement(new.id, 0))
    report = Ended(AttemptId("a"), TOKEN, after(NOW, 2), AttemptState.SUCCEEDED)
    changes, refused = await store.dispatch.apply([report], NOW, [0.5], W2.id)
    assert (changes, refused) == ([], [TOKEN])
    events = await store.tasks.events(WS, new.id, 0, 100)
    assert "refused" not in [one.kind for one in events]
    changes, refused = await store.dispatch.apply([report], NOW, [0.5], W1.id)
    assert ([one.kind for one in changes], refused) == (["succeeded"], [])
